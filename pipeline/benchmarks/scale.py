"""Number of GPUs that one machine can feed, with actors that sleep as long as a GPU would compute."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.benchmarks.common import START_FILE, record_start, start_time
from pipeline.ingest.stream import batch_table, to_batch
from pipeline.progress import Reporter
from pipeline.score.predictor import PredictorOptions, score_columns
from pipeline.settings import load_config

ROWS_PER_S = 40_000
"""Rows per second of one actor, approximately those of an H100 with BERT-base in bfloat16 and 40 tokens per
review."""

RATE = "RAYVIEW_BENCH_ROWS_PER_S"
"""Environment variable: rows per second of an actor."""

_LOGICAL_CPUS_PER_CORE = 3
"""Actors reserve up to half of the logical CPUs, and use none while they sleep."""


class Sleeper:
    """Fake Predictor that sleeps as long as a GPU would compute, and predicts a uniform distribution."""

    def __init__(self, options: PredictorOptions) -> None:
        self._options, self._rows_per_s = options, float(os.environ[RATE])
        # Like an actor with a GPU, it has several chunks in flight, and processes one at a time.
        self._gpu = threading.Lock()

    def __call__(self, table: pa.Table) -> pa.Table:
        """See Predictor."""
        record_start()
        start = time.time()
        batch = to_batch(table)
        classes = len(self._options.card.labels)
        uniform = np.full((batch.rows.num_rows, classes), 1 / classes, np.float32)
        rows = score_columns(batch.rows.drop_columns(["input_ids"]), uniform, self._options.card)
        busy_s = batch.rows.num_rows / self._rows_per_s
        with self._gpu:
            time.sleep(busy_s)
        timings = batch.timings | {"scored_from_s": start, "scored_to_s": time.time(), "score_s": busy_s}
        return batch_table(replace(batch, rows=rows, timings=timings))


def sleeping_actors(dump: str, model: str, output: str, actors: int, rows_per_s: float = ROWS_PER_S) -> float:
    """Seconds to score a dump with sleeping actors, from the first rows at an actor; see score.py.

    Args:
        actors: number of actors.
        rows_per_s: rate of one actor.
    """
    import ray

    from pipeline.runtime.connect import connect
    from pipeline.score import stage

    shutil.rmtree(output, ignore_errors=True)
    config = load_config(None, ["score.precision=bfloat16"])
    with tempfile.TemporaryDirectory() as work:
        os.environ |= {START_FILE: f"{work}/start", RATE: str(rows_per_s)}
        cpus = _LOGICAL_CPUS_PER_CORE * (os.cpu_count() or 1)
        # The job plans one GPU per actor.
        ray.init(address="local", num_cpus=cpus, num_gpus=actors, log_to_driver=False)
        cluster = connect(config.cluster)
        job = stage.plan([dump], model, output, config)
        stage.score(job, cluster, Reporter(), predictor=Sleeper)
        return time.time() - start_time()
