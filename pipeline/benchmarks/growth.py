"""Growth of memory with the size of the input: jobs on a small and on a large file."""

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
    """Duration and memory of one run."""

    job: str
    rows: int
    seconds: float
    peak_bytes: dict[str, int]
    """Kind of process → peak private memory of its largest process."""


def measure_growth(work: Path, rows: tuple[int, ...]) -> list[Growth]:
    """Run `prepare` and `score` on dumps with the given numbers of rows, each in one gz file.

    Two sleeping actors (see scale.py) replace a model, which would take hours.

    Args:
        work: an empty directory for dumps and outputs.
    Returns:
        One entry per run, sorted by job, then in the order of `rows`.
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
        arguments = {"dump": dump, "model": str(work / "model"), "output": output, "actors": 2}
        target = "pipeline.benchmarks.scale:sleeping_actors"
        command = ["pipeline.benchmarks.rounds", target, json.dumps(arguments)]
    start = time.monotonic()
    peaks: dict[str, int] = {}

    def record(sample: Sample) -> None:
        peaks[sample.kind] = max(peaks.get(sample.kind, 0), sample.private_bytes)

    code = run_measured([sys.executable, "-m", *command], os.environ | {"RAY_ADDRESS": "local"}, record)
    if code:
        raise RayviewError(f"{job} of {rows:,} rows ended with exit code {code}")
    shutil.rmtree(output)
    return Growth(job, rows, time.monotonic() - start, peaks)
