"""The scoring job into which tests inject faults: the small dump and the untrained classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.score.job import ScoreJob
from pipeline.score.stage import plan
from pipeline.score.steps import ChunkWork
from pipeline.settings import load_config

SETS = ["input.chunk_bytes=65536", "score.precision=float32", "score.num_actors=1"]
OPTIONS = [item for pair in SETS for item in ("--set", pair)]


@dataclass(frozen=True)
class DisturbedJob(ScoreJob):
    """A job that encodes and writes chunks with a given class."""

    work_class: Callable[..., ChunkWork]

    def chunk_work(self) -> ChunkWork:
        return self.work_class(**super().chunk_work().__dict__)


def plan_small(
    dump: Path, model: str, output: Path, *sets: str, work_class: Callable[..., ChunkWork] = ChunkWork
) -> ScoreJob:
    """The job, with additional settings."""
    job = plan([str(dump)], model, str(output), load_config(None, [*SETS, *sets]))
    return DisturbedJob(**job.__dict__, work_class=work_class)
