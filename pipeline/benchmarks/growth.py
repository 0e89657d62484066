"""Whether memory grows with the input: a job on one small and on one large file."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.benchmarks.memory import Sample, run_measured
from pipeline.benchmarks.models import write_model
from pipeline.config import DEFAULT_MODEL
from pipeline.errors import RayviewError
from pipeline.storage.location import locate
from pipeline.synth import write_dump

JOBS = ("prepare", "score")


@dataclass(frozen=True)
class Growth:
    """What one run took."""

    job: str
    rows: int
    seconds: float
    peak_bytes: dict[str, int]
    """Of the largest process of each kind."""


def measure_growth(work: Path, rows: tuple[int, ...]) -> list[Growth]:
    """Prepare, and score, dumps of so many rows, each in one gz file.

    In place of a model that would take hours, two actors that sleep: see scale.py.

    Args:
        work: an empty folder for dumps and outputs.
    Returns:
        By job, then by rows.
    Raises:
        RayviewError: a job failed.
    """
    write_model(work / "model", DEFAULT_MODEL, max_length=128)
    for count in rows:
        write_dump(locate(work / f"dump-{count}"), rows=count, shards=1, seed=0)
    return [_measure(work, job, count) for job in JOBS for count in rows]


def _measure(work: Path, job: str, rows: int) -> Growth:
    dump, output = str(work / f"dump-{rows}"), str(work / "out")
    if job == "prepare":
        command = ["jobs.prepare", dump, "--output", output]
    else:
        about = {"dump": dump, "model": str(work / "model"), "output": output, "actors": 2}
        target = "pipeline.benchmarks.scale:sleeping_actors"
        command = ["pipeline.benchmarks.rounds", target, json.dumps(about)]
    start = time.monotonic()
    peaks: dict[str, int] = {}

    def see(sample: Sample) -> None:
        peaks[sample.kind] = max(peaks.get(sample.kind, 0), sample.own_bytes)

    code = run_measured([sys.executable, "-m", *command], os.environ | {"RAY_ADDRESS": "local"}, see)
    if code:
        raise RayviewError(f"{job} of {rows:,} rows ended with exit code {code}")
    shutil.rmtree(output)
    return Growth(job, rows, time.monotonic() - start, peaks)
