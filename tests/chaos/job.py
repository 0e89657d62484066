"""Scores a dump as `jobs.score` does, and records each chunk that reaches the model; for test_kills.py."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from jobs.cli import session
from pipeline.ingest.stream import Batch
from pipeline.score import stage
from pipeline.score.predictor import Predictor
from pipeline.settings import load_config

TRACE = "RAYVIEW_CHAOSTRACE"
"""Environment variable: path of a file with one line per started chunk."""

CHUNK_S = "RAYVIEW_CHAOSCHUNK"
"""Environment variable: seconds to wait per chunk, to imitate a larger model."""

_CHUNK_S = "0.6"


class Traced(Predictor):
    """Appends a line to the trace for each chunk."""

    def score(self, batch: Batch) -> Batch:
        # A single append of a few bytes is atomic.
        with Path(os.environ[TRACE]).open("a") as trace:
            trace.write(f"{batch.header.file} {batch.header.chunk}\n")
        time.sleep(float(os.environ.get(CHUNK_S, _CHUNK_S)))
        return super().score(batch)


def main(dump: str, model: str, output: str, sets: list[str]) -> None:
    """Run `jobs.score DUMP --model MODEL --output OUTPUT --set …` with a traced predictor."""
    with session("score") as job:
        config = load_config(None, sets)
        plan = stage.plan([dump], model, output, config)
        stage.score(plan, job.connect(config), job.reporter, predictor=Traced)


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
