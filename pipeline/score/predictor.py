"""A model in an actor: encoded rows in, label and probabilities out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.ingest.parse.rejects import RejectedLine, reject_table
from pipeline.ingest.stream import Batch, batch_table, to_batch
from pipeline.model.card import ModelCard
from pipeline.model.forward import BrokenDeviceError, ForwardOptions, read_forward
from pipeline.model.ragged import Ragged
from pipeline.runtime.crash_guard import MAX_CRASHES, UNGUARDED, CrashGuard, crash_message

_LEAST_COMPARED, _MOST_COMPARED = 64, 256
"""The first sixteenth of the rows of one chunk is scored in float32 too, within these bounds: on a CPU, in a
job of a few seconds, more of them would be a good part of the work."""


@dataclass(frozen=True)
class PredictorOptions:
    """What an actor needs; plain data. The same options and rows give the same probabilities."""

    forward: ForwardOptions
    card: ModelCard
    batch_tokens: int
    threads: int = 1
    """Chunks that are computed at the same time, each by one thread."""
    guard: CrashGuard = UNGUARDED
    """Records the attempts at scoring each chunk."""


class Predictor:
    """Scores one chunk a call.

    Calls may overlap. One thread computes a chunk from its first batch to its last, and no operation uses
    more than that thread, so the result does not depend on the number of threads of an actor.
    """

    def __init__(self, options: PredictorOptions) -> None:
        """Load the model.

        Raises:
            ModelError: it is another one by now.
        """
        self._options = options
        self._threads = ThreadPoolExecutor(options.threads, "computing")
        self._forward = read_forward(options.forward)

    def __call__(self, table: pa.Table) -> pa.Table:
        """A batch's rows with label, score and probabilities in place of their token ids.

        What it cost goes with it: see bill.py.
        """
        batch = to_batch(table)
        with self._options.guard.attempt("score", batch.file, batch.chunk) as crashes:
            if crashes >= MAX_CRASHES:
                return batch_table(self._set_aside(batch, crash_message(crashes, "score")))
            try:
                return batch_table(self._score(batch))
            except BrokenDeviceError as error:
                # Ray starts another process, and that gets the chunk again.
                logging.getLogger(__name__).error("chunk %d of %s: %s", batch.chunk, batch.source, error)
                os._exit(1)

    def _score(self, batch: Batch) -> Batch:
        start = time.time()
        ids = Ragged.of(batch.rows["input_ids"])
        # Within the chunk alone: what a chunk yields must not depend on another.
        distinct, which = ids.distinct()
        scored = self._threads.submit(self._forward, distinct, self._options.batch_tokens).result()
        card = self._options.card
        rows = score_columns(batch.rows.drop_columns(["input_ids"]), scored.probabilities[which], card)
        rejects = batch.rejects
        if scored.failures:
            failed = {row: scored.failures[i] for row, i in enumerate(which.tolist()) if i in scored.failures}
            rejects = add_rejects(rejects, batch, "model_failed", failed)
            good = [row for row in range(rows.num_rows) if row not in failed]
            rows = rows.take(pa.array(good, pa.int64()))
        counts = batch.counts | {
            "tokens": int(ids.lengths.sum()),
            "repeated_rows": len(which) - len(distinct.lengths),
            "scored_tokens": int(distinct.lengths.sum()),
            "padded_tokens": scored.padded_tokens,
            "flops": self._forward.model.flops(distinct.lengths),
        }
        # Not the first chunk if there is another: a job that begins shall soon have something to show.
        if batch.file == 0 and (batch.chunk == 1 or (batch.chunk == 0 and batch.last)):
            counts |= self._threads.submit(self._compare, distinct, scored.probabilities).result()
        took = {"scored_from_s": start, "scored_to_s": time.time()}
        took |= {"score_s": scored.seconds, "halvings": scored.halvings}
        return replace(batch, rows=rows, rejects=rejects, counts=counts, took=batch.took | took)

    def _set_aside(self, batch: Batch, why: str) -> Batch:
        """A batch none of whose rows is scored."""
        details = dict.fromkeys(range(batch.rows.num_rows), why)
        rejects = add_rejects(batch.rejects, batch, "worker_died", details)
        none = np.empty((0, len(self._options.card.labels)), np.float32)
        rows = score_columns(batch.rows.slice(0, 0).drop_columns(["input_ids"]), none, self._options.card)
        took = dict.fromkeys(("scored_from_s", "scored_to_s"), time.time())
        return replace(batch, rows=rows, rejects=rejects, took=batch.took | took)

    def _compare(self, ids: Ragged, found: npt.NDArray[np.float32]) -> dict[str, Any]:
        """How far the first rows of a chunk are from their probabilities in float32.

        Args:
            found: (N, C), the probabilities of N rows.
        """
        options = self._options.forward
        first = ids.head(min(_MOST_COMPARED, max(_LEAST_COMPARED, len(ids.lengths) // 16)))
        rows = len(first.lengths)
        if options.precision == "float32" or not rows:
            return {}
        plain = read_forward(replace(options, precision="float32", compiled=False, kernels=False))
        exact = plain(first, self._options.batch_tokens).probabilities
        both = np.isfinite(found[:rows]).all(1) & np.isfinite(exact).all(1)
        found, exact = found[:rows][both], exact[both]
        return {
            "compared_rows": len(found),
            "changed_labels": int((found.argmax(1) != exact.argmax(1)).sum()),
            "largest_change": round(float(np.abs(found - exact).max(initial=0)), 6),
        }


def add_rejects(rejects: pa.Table | None, batch: Batch, reason: str, details: Mapping[int, str]) -> pa.Table:
    """Rejected lines of a batch, and some of its rows; where those stand in the dump is looked up later.

    Args:
        details: by the number of a row in the batch.
    """
    lines = batch.rows["line"].take(pa.array(list(details), pa.int64())).to_pylist()
    more = [
        RejectedLine(line, None, reason, why, None) for line, why in zip(lines, details.values(), strict=True)
    ]
    table = reject_table(batch.source, None, more)
    return table if rejects is None else pa.concat_tables([rejects, table]).sort_by("line")


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
