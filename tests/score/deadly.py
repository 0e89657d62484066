"""Scoring steps that fail or crash their process; workers import them by name."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa

from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.stream import Batch
from pipeline.score.predictor import GuardedPredictor, score_columns
from pipeline.score.steps import ChunkWork
from pipeline.storage import localwrite

FATAL = {"encode": (0, 1), "score": (1, 1), "write": (0, 1)}
"""File and chunk on which each step crashes."""


class TokenPredictor(GuardedPredictor):
    """Predictor without a model, whose process starts faster; the scores depend on the token IDs."""

    def score(self, batch: Batch) -> Batch:
        """See GuardedPredictor."""
        classes = len(self.options.card.labels)
        likely = np.array([sum(ids) % classes for ids in batch.rows["input_ids"].to_pylist()], np.int64)
        probabilities = np.eye(classes, dtype=np.float32)[likely]
        now = time.time()
        rows = score_columns(batch.rows.drop_columns(["input_ids"]), probabilities, self.options.card)
        timings = batch.timings | {"scored_from_s": now, "scored_to_s": now, "score_s": 0.0}
        return replace(batch, rows=rows, timings=timings)


class DeadlyPredictor(TokenPredictor):
    """Crashes while scoring one chunk."""

    def score(self, batch: Batch) -> Batch:
        """See GuardedPredictor."""
        if (batch.header.file, batch.header.chunk) == FATAL["score"]:
            os._exit(1)
        return super().score(batch)


@dataclass(frozen=True)
class DeadlyWork(ChunkWork):
    """Crashes while encoding one chunk."""

    def encode(self, chunk: Chunk) -> Batch:
        if (chunk.header.file, chunk.header.chunk) == FATAL["encode"]:
            os._exit(1)
        return super().encode(chunk)


@dataclass(frozen=True)
class DeadlyWriting(ChunkWork):
    """Crashes while writing one chunk."""

    def _write(self, batch: Batch) -> pa.Table:
        if (batch.header.file, batch.header.chunk) == FATAL["write"]:
            os._exit(1)
        return super()._write(batch)


@dataclass(frozen=True)
class FullDiskWork(ChunkWork):
    """Fails with a full disk: twice for each file, or permanently once a part exists."""

    permanent: bool = False

    def write_chunk(self, table: pa.Table) -> pa.Table:
        """See ChunkWork."""
        write, tries = localwrite.write_once, Counter[Path]()

        def fail(path: Path, data: bytes, *, durable: bool) -> None:
            tries[path] += 1
            full = any(path.parent.glob("part-*")) if self.permanent else tries[path] <= 2
            if not full:
                return write(path, data, durable=durable)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with mock.patch.multiple(localwrite, write_once=fail, RETRY_DELAYS_S=(0.05, 0.1, 0.2)):
            return super().write_chunk(table)
