"""How many GPUs one machine keeps busy: scoring with actors that sleep as long as a GPU would compute."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.benchmarks.common import BEGAN, began, mark_begin
from pipeline.ingest.stream import batch_table, to_batch
from pipeline.progress import Reporter
from pipeline.score.predictor import PredictorOptions, score_columns
from pipeline.settings import load_config

ROWS_PER_S = 40_000
"""Of one actor: about an H100 with BERT-base, bfloat16, 40 tokens a review."""

PACE = "RAYVIEW_BENCHPACE"
"""Environment variable: rows that an actor takes a second."""

_CPUS_A_CORE = 3
"""Logical CPUs for each core: actors reserve up to half of them, and take none while they sleep."""


class Sleeper:
    """In place of the model: takes the time of a GPU, and answers with the same for all."""

    def __init__(self, options: PredictorOptions) -> None:
        self._options, self._rows_per_s = options, float(os.environ[PACE])
        # It has several chunks in hand, as one with a GPU, which computes one at a time.
        self._gpu = threading.Lock()

    def __call__(self, table: pa.Table) -> pa.Table:
        """See Predictor."""
        mark_begin()
        start = time.time()
        batch = to_batch(table)
        classes = len(self._options.card.labels)
        even = np.full((batch.rows.num_rows, classes), 1 / classes, np.float32)
        rows = score_columns(batch.rows.drop_columns(["input_ids"]), even, self._options.card)
        busy_s = batch.rows.num_rows / self._rows_per_s
        with self._gpu:
            time.sleep(busy_s)
        took = batch.took | {"scored_from_s": start, "scored_to_s": time.time(), "score_s": busy_s}
        return batch_table(replace(batch, rows=rows, took=took))


def sleeping_actors(dump: str, model: str, output: str, actors: int, rows_per_s: float = ROWS_PER_S) -> float:
    """Score a dump with so many actors; see score.py for what is timed.

    Args:
        rows_per_s: that an actor takes.
    """
    import ray

    from pipeline.runtime.connect import connect
    from pipeline.score import stage

    shutil.rmtree(output, ignore_errors=True)
    config = load_config(None, ["score.precision=bfloat16"])
    with tempfile.TemporaryDirectory() as work:
        os.environ |= {BEGAN: f"{work}/began", PACE: str(rows_per_s)}
        cpus = _CPUS_A_CORE * (os.cpu_count() or 1)
        # In the plan of the job each actor has a GPU.
        ray.init(address="local", num_cpus=cpus, num_gpus=actors, log_to_driver=False)
        cluster = connect(config.cluster)
        job = stage.plan([dump], model, output, config)
        stage.score(job, cluster, Reporter(), predictor=Sleeper)
        return time.time() - began()
