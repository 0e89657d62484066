"""Whether memory grows with the input: prepare on one small and one large file."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.benchmarks.memory import run_measured
from pipeline.errors import RayviewError
from pipeline.storage import locate
from pipeline.synth import write_dump


@dataclass(frozen=True)
class Growth:
    """What one run took."""

    rows: int
    seconds: float
    peak_bytes: dict[str, int]
    """Of the largest process of each kind."""


def measure_growth(work: Path, rows: tuple[int, ...], settings: list[str]) -> list[Growth]:
    """Prepare dumps of so many rows, each in one gz file.

    Args:
        work: an empty folder for dumps and outputs.
        settings: for `--set`.
    Raises:
        RayviewError: a job failed.
    """
    found = []
    for count in rows:
        dump, output = work / f"dump-{count}", work / f"data-{count}"
        write_dump(locate(dump), rows=count, shards=1, seed=0)
        command = [sys.executable, "-m", "jobs.prepare", str(dump), "--output", str(output)]
        command += [item for setting in settings for item in ("--set", setting)]
        start = time.monotonic()
        code, peaks = run_measured(command, os.environ | {"RAY_ADDRESS": "local"})
        if code:
            raise RayviewError(f"prepare of {count:,} rows ended with exit code {code}")
        found.append(Growth(count, time.monotonic() - start, peaks.by_kind))
    return found
