"""A model that is the bottleneck of the pipeline; Ray workers import it for test_backlog.py."""

from __future__ import annotations

import time

import pyarrow as pa

from pipeline.score.predictor import Predictor

CHUNK_S = 0.5


class SlowPredictor(Predictor):
    """Predictor that sleeps before each chunk."""

    def __call__(self, table: pa.Table) -> pa.Table:
        time.sleep(CHUNK_S)
        return super().__call__(table)
