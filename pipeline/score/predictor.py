"""Actor that scores chunks: encoded rows in, label and probabilities out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipeline.arrays import FloatArray
from pipeline.errors import BrokenDeviceError
from pipeline.ingest.parse.rejects import Reason, RejectedLine, reject_table
from pipeline.ingest.stream import Batch, batch_table, to_batch
from pipeline.model.card import ModelCard
from pipeline.model.options import ForwardOptions
from pipeline.model.ragged import Ragged
from pipeline.runtime.crash_guard import MAX_CRASHES, UNGUARDED, CrashGuard, crash_message

if TYPE_CHECKING:
    from pipeline.model.forward import Forward

_MIN_COMPARED, _MAX_COMPARED = 64, 256
"""Bounds on the rows that are also scored in float32, a sixteenth of the rows of one chunk. More rows would
dominate a job that takes seconds on a CPU."""


_HALF = np.float32(0.5)
"""Probability from which one of several labels applies."""


@dataclass(frozen=True)
class PredictorOptions:
    """Options of an actor; plain data. The same options and rows give the same probabilities."""

    forward: ForwardOptions
    card: ModelCard
    batch_tokens: int
    threads: int = 1
    """Number of chunks computed concurrently, each by one thread."""
    guard: CrashGuard = UNGUARDED
    """Records the attempts at scoring each chunk."""


class GuardedPredictor:
    """Actor that scores one chunk per call, and rejects the rows of a chunk that crashes its workers.

    Calls may overlap.
    """

    def __init__(self, options: PredictorOptions) -> None:
        self.options = options

    def __call__(self, table: pa.Table) -> pa.Table:
        """Batch with label, score and probabilities instead of token IDs, and its cost; see cost.py."""
        batch = to_batch(table)
        header = batch.header
        with self.options.guard.attempt("score", header.file, header.chunk) as crashes:
            if crashes >= MAX_CRASHES:
                return batch_table(self._set_aside(batch, crash_message(crashes, "score")))
            try:
                return batch_table(self.score(batch))
            except BrokenDeviceError as error:
                # Ray restarts the actor in a new process and retries the chunk there.
                logging.getLogger(__name__).error("chunk %d of %s: %s", header.chunk, header.source, error)
                os._exit(1)

    def score(self, batch: Batch) -> Batch:
        """The batch with the columns of `score_columns`, its counts and its timings."""
        raise NotImplementedError

    def _set_aside(self, batch: Batch, why: str) -> Batch:
        """The batch with all of its rows rejected."""
        details = dict.fromkeys(range(batch.rows.num_rows), why)
        rejects = add_rejects(batch.rejects, batch, Reason.WORKER_DIED, details)
        none = np.empty((0, len(self.options.card.labels)), np.float32)
        rows = score_columns(batch.rows.slice(0, 0).drop_columns(["input_ids"]), none, self.options.card)
        timings = dict.fromkeys(("scored_from_s", "scored_to_s"), time.time())
        return replace(batch, rows=rows, rejects=rejects, timings=batch.timings | timings)


class Predictor(GuardedPredictor):
    """Predictor that scores with the model.

    One thread computes a chunk from its first batch to its last, and no operation uses more than that thread,
    so the result does not depend on the number of threads of an actor.
    """

    def __init__(self, options: PredictorOptions) -> None:
        """Load the model.

        Raises:
            ModelError: it cannot be loaded, or has changed since the job began.
        """
        super().__init__(options)
        self._threads = ThreadPoolExecutor(options.threads, "computing")
        self._forward = _read_forward(options.forward)

    def score(self, batch: Batch) -> Batch:
        """See GuardedPredictor."""
        start, header = time.time(), batch.header
        ids = Ragged.of(batch.rows["input_ids"])
        # Only within the chunk: the result of a chunk must not depend on other chunks.
        distinct, which = ids.distinct()
        scored = self._threads.submit(self._forward, distinct, self.options.batch_tokens).result()
        card = self.options.card
        rows = score_columns(batch.rows.drop_columns(["input_ids"]), scored.probabilities[which], card)
        rejects = batch.rejects
        if scored.failures:
            failed = {row: scored.failures[i] for row, i in enumerate(which.tolist()) if i in scored.failures}
            rejects = add_rejects(rejects, batch, Reason.MODEL_FAILED, failed)
            rows = rows.take(pa.array([row for row in range(rows.num_rows) if row not in failed], pa.int64()))
        counts = batch.counts | {
            "tokens": int(ids.lengths.sum()),
            "repeated_rows": len(which) - len(distinct.lengths),
            "scored_tokens": int(distinct.lengths.sum()),
            "padded_tokens": scored.padded_tokens,
            "flops": self._forward.model.flops(distinct.lengths),
        }
        # Not the first chunk if there is another: a new job should show its first rows early.
        if header.file == 0 and (header.chunk == 1 or (header.chunk == 0 and header.last)):
            counts |= self._threads.submit(self._compare, distinct, scored.probabilities).result()
        timings = {"scored_from_s": start, "scored_to_s": time.time()}
        timings |= {"score_s": scored.seconds, "halvings": scored.halvings}
        return replace(batch, rows=rows, rejects=rejects, counts=counts, timings=batch.timings | timings)

    def _compare(self, ids: Ragged, found: FloatArray) -> dict[str, float]:
        """Differences of the probabilities of the first rows of a chunk from those in float32.

        Args:
            found: (N, C) float32, probabilities of N rows.
        """
        options = self.options.forward
        first = ids.head(min(_MAX_COMPARED, max(_MIN_COMPARED, len(ids.lengths) // 16)))
        rows = len(first.lengths)
        if options.precision == "float32" or not rows:
            return {}
        plain = _read_forward(replace(options, precision="float32", compiled=False, kernels=False))
        exact = plain(first, self.options.batch_tokens).probabilities
        both = np.isfinite(found[:rows]).all(1) & np.isfinite(exact).all(1)
        found, exact = found[:rows][both], exact[both]
        return {
            "compared_rows": len(found),
            "changed_labels": int((found.argmax(1) != exact.argmax(1)).sum()),
            "largest_change": round(float(np.abs(found - exact).max(initial=0)), 6),
        }


def _read_forward(options: ForwardOptions) -> Forward:
    # Imports torch, which only the actors need; the driver imports this module for the name of their class.
    from pipeline.model.forward import read_forward

    return read_forward(options)


def add_rejects(
    rejects: pa.Table | None, batch: Batch, reason: Reason, details: Mapping[int, str]
) -> pa.Table:
    """Rejects of a batch with additional rejected rows, whose offsets and lines are looked up later.

    Args:
        details: details of the rejected rows, by row index in the batch.
    """
    lines = batch.rows["line"].take(pa.array(list(details), pa.int64())).to_pylist()
    more = [
        RejectedLine(line, None, reason, why, None) for line, why in zip(lines, details.values(), strict=True)
    ]
    table = reject_table(batch.header.source, None, more)
    return table if rejects is None else pa.concat_tables([rejects, table]).sort_by("line")


def score_columns(rows: pa.Table, probabilities: FloatArray, card: ModelCard) -> pa.Table:
    """Rows with label, score and one probability per class; token counts stay last.

    Args:
        rows: N rows, with num_tokens and truncated as their last two columns.
        probabilities: (N, C) float32, outputs of the model after its activation.
    Returns:
        The rows. If several labels can apply, `label_set` has those with a probability of at least one half.
        For a regression, `score` is its output, `label` is null, and there are no probabilities.
    """
    columns: dict[str, object] = {n: rows[n] for n in rows.column_names[:-2]}
    if card.problem == "regression":
        columns |= {"label": pa.nulls(len(probabilities), pa.string()), "score": probabilities[:, 0]}
    else:
        best = probabilities.argmax(1)
        names = pa.array(card.labels, pa.string())
        columns["label"] = pa.DictionaryArray.from_arrays(pa.array(best.astype(np.int32)), names).cast(
            pa.string()
        )
        columns["score"] = probabilities[np.arange(len(best)), best]
        columns |= {f"prob_{name}": probabilities[:, i] for i, name in enumerate(card.labels)}
    if card.problem == "multi_label":
        columns["label_set"] = _label_sets(probabilities, card.labels)
    columns |= {n: rows[n] for n in rows.column_names[-2:]}
    return pa.table(columns)


def _label_sets(probabilities: FloatArray, labels: list[str]) -> pa.ListArray:
    """(N,) list<string>: the labels of each row whose probability is at least one half, in their order."""
    applies = probabilities >= _HALF
    offsets = np.concatenate([[0], np.cumsum(applies.sum(1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(labels, pa.string()).take(applies.nonzero()[1]))
