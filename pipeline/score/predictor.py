"""A model in an actor: encoded rows in, label and probabilities out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.copies import local_copy
from pipeline.errors import ModelError
from pipeline.ingest.dataset import batch_table, to_batch
from pipeline.model import ModelCard, fingerprint_model, load_classifier, pad_token_id
from pipeline.ragged import Ragged, padded_width, to_tensors, token_budget_batches
from pipeline.storage import locate


@dataclass(frozen=True)
class PredictorOptions:
    """What an actor needs; plain data. The same options and rows give the same probabilities."""

    model: str
    """URI of the model directory."""
    fingerprint: str
    """What `model.fingerprint_model` said of it when the job began."""
    card: ModelCard
    precision: str
    batch_tokens: int
    threads: int


class Predictor:
    """Scores one chunk a call."""

    def __init__(self, options: PredictorOptions) -> None:
        """Load the model.

        Raises:
            ModelError: it is another one by now; two models never mix in one output.
        """
        import torch

        torch.set_num_threads(options.threads)
        self._options = options
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        directory = local_copy(locate(options.model))
        if fingerprint_model(locate(directory)) != options.fingerprint:
            raise ModelError(f"{options.model}: was written anew since the job began; give the command again")
        self._model = load_classifier(directory).eval().to(self._device)
        self._pad_id = pad_token_id(self._model)

    def __call__(self, table: pa.Table) -> pa.Table:
        """A batch's rows with label, score and probabilities in place of their token ids."""
        start = time.monotonic()
        batch = to_batch(table)
        ids = Ragged.of(batch.rows["input_ids"])
        longest = self._options.card.max_length
        batches = token_budget_batches(ids.lengths, self._options.batch_tokens, longest)
        probabilities = self._probabilities(ids, batches)
        padded = sum(padded_width(int(ids.lengths[b[0]]), longest) * len(b) for b in batches)
        counts = batch.counts | {"tokens": int(ids.offsets[-1] - ids.offsets[0]), "padded_tokens": padded}
        counts["forward_s"] = time.monotonic() - start
        rows = score_columns(batch.rows.drop_columns(["input_ids"]), probabilities, self._options.card)
        return batch_table(replace(batch, rows=rows, counts=counts))

    def _probabilities(self, ids: Ragged, batches: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """(N, C) float32, rows sum to 1."""
        import torch

        card = self._options.card
        out = torch.empty((len(ids.lengths), len(card.labels)), dtype=torch.float32)
        bfloat16 = self._options.precision == "bfloat16"
        with (
            torch.inference_mode(),
            torch.autocast(self._device, dtype=torch.bfloat16, enabled=bfloat16),
        ):
            for rows in batches:
                inputs = to_tensors(*ids.pad(rows, self._pad_id, card.max_length), self._device)
                logits = self._model(**inputs).logits.float()
                out[torch.from_numpy(rows)] = logits.softmax(1).cpu()
        return np.asarray(out.numpy(), np.float32)


def score_columns(rows: pa.Table, probabilities: npt.NDArray[np.float32], card: ModelCard) -> pa.Table:
    """Append label, score and one probability a class to rows; token counts stay last.

    Args:
        rows: N rows, with num_tokens and truncated as their last two columns.
        probabilities: (N, C) float32.
    """
    best = probabilities.argmax(1)
    names = pa.array(card.labels, pa.string())
    columns: dict[str, Any] = {n: rows[n] for n in rows.column_names[:-2]}
    columns["label"] = pa.DictionaryArray.from_arrays(pa.array(best.astype(np.int32)), names).cast(
        pa.string()
    )
    columns["score"] = probabilities[np.arange(len(best)), best]
    columns |= {f"prob_{name}": probabilities[:, i] for i, name in enumerate(card.labels)}
    columns |= {n: rows[n] for n in rows.column_names[-2:]}
    return pa.table(columns)
