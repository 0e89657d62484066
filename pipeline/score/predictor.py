"""A model in an actor: encoded rows in, label and probabilities out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ingest.dataset import batch_table, to_batch
from pipeline.model import ModelCard
from pipeline.ragged import Ragged
from pipeline.score.forward import ForwardOptions, compute, load_forward, read_forward

COMPARED_ROWS = 256
"""So many rows of one chunk of a job are scored in float32 too."""


@dataclass(frozen=True)
class PredictorOptions:
    """What an actor needs; plain data. The same options and rows give the same probabilities."""

    forward: ForwardOptions
    card: ModelCard
    batch_tokens: int


class Predictor:
    """Scores one chunk a call."""

    def __init__(self, options: PredictorOptions) -> None:
        """Load the model.

        Raises:
            ModelError: it is another one by now.
        """
        self._options = options
        self._forward = compute(load_forward, options.forward)

    def __call__(self, table: pa.Table) -> pa.Table:
        """A batch's rows with label, score and probabilities in place of their token ids.

        What it cost goes with it: see bill.py.
        """
        start = time.time()
        batch = to_batch(table)
        ids = Ragged.of(batch.rows["input_ids"])
        # Within the chunk alone: what a chunk yields must not depend on another.
        distinct, which = ids.distinct()
        scored = compute(self._forward, distinct, self._options.batch_tokens)
        card = self._options.card
        rows = score_columns(batch.rows.drop_columns(["input_ids"]), scored.probabilities[which], card)
        counts = batch.counts | {
            "tokens": int(ids.lengths.sum()),
            "repeated_rows": len(which) - len(distinct.lengths),
            "scored_tokens": int(distinct.lengths.sum()),
            "padded_tokens": scored.padded_tokens,
            "flops": self._forward.model.flops(distinct.lengths),
        }
        # Not the first chunk if there is another: a job that begins shall soon have something to show.
        if batch.file == 0 and (batch.chunk == 1 or (batch.chunk == 0 and batch.last)):
            counts |= compute(self._compare, distinct, scored.probabilities)
        took = {"scored_from_s": start, "scored_to_s": time.time()}
        took |= {"score_s": scored.seconds, "halvings": scored.halvings}
        return batch_table(replace(batch, rows=rows, counts=counts, took=batch.took | took))

    def _compare(self, ids: Ragged, found: npt.NDArray[np.float32]) -> dict[str, Any]:
        """How far the first rows of a chunk are from their probabilities in float32.

        Args:
            found: (N, C), the probabilities of N rows.
        """
        options = self._options.forward
        first = ids.head(COMPARED_ROWS)
        rows = len(first.lengths)
        if options.precision == "float32" or not rows:
            return {}
        plain = read_forward(replace(options, precision="float32", compiled=False, kernels=False))
        exact = plain(first, self._options.batch_tokens).probabilities
        return {
            "compared_rows": rows,
            "changed_labels": int((found[:rows].argmax(1) != exact.argmax(1)).sum()),
            "largest_change": round(float(np.abs(found[:rows] - exact).max()), 6),
        }


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
