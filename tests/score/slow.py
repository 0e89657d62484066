"""A model that is slower than all that is before it: for test_backlog.py, and importable by Ray's workers."""

from __future__ import annotations

import time

import pyarrow as pa

from pipeline.score.predictor import Predictor

CHUNK_S = 0.5


class SlowPredictor(Predictor):
    """One that takes its time for a chunk."""

    def __call__(self, table: pa.Table) -> pa.Table:
        time.sleep(CHUNK_S)
        return super().__call__(table)
