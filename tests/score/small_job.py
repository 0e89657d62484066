"""The scoring job that the tests disturb: the small dump and the untrained classifier."""

from __future__ import annotations

from pathlib import Path

from pipeline.score.stage import ScoreJob, plan
from pipeline.settings import load_config

SETS = ["input.chunk_bytes=65536", "score.precision=float32", "score.num_actors=1"]
OPTIONS = [item for pair in SETS for item in ("--set", pair)]


def plan_small(dump: Path, model: str, output: Path, *sets: str) -> ScoreJob:
    """The plan of the job, with more settings."""
    return plan([str(dump)], model, str(output), load_config(None, [*SETS, *sets]))
