"""A long job whose model is slower than all that is before it: what waits for it, and in how much memory."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.benchmarks.memory import Sample, run_measured
from pipeline.benchmarks.models import write_model
from pipeline.config import DEFAULT_MODEL
from pipeline.details import ScoreDetails
from pipeline.errors import RayviewError
from pipeline.rundir.manifest import read_manifest
from pipeline.storage.location import locate
from pipeline.synth import write_dump

_SHARED = Path("/dev/shm")
_ACTORS = 2
_EVERY_S = 1.0


@dataclass
class Course:
    """What a job took over its time."""

    seconds: float = 0.0
    chunks: int = 0
    most_waiting: int = 0
    """Chunks that were encoded, and not yet at the model."""
    store_bytes: int = 0
    """Most that Ray's object store ever held, and whatever else shared memory meanwhile."""
    spilled_bytes: int = 0
    """Most that it wrote to the disk for want of memory."""
    own_bytes: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """By kind of process: when it was looked at, and the memory of its own."""

    @property
    def peak_bytes(self) -> dict[str, tuple[int, int]]:
        """By kind of process, the largest in the first quarter of the time, and in the last."""
        found = {}
        for kind, seen in self.own_bytes.items():
            first = [size for when, size in seen if when <= self.seconds / 4]
            last = [size for when, size in seen if when >= self.seconds * 3 / 4]
            if first and last:
                found[kind] = max(first), max(last)
        return found


def run_slowly(work: Path, rows: int, minutes: int) -> Course:
    """Score a dump in one gz file with actors that sleep, for about so many minutes; see scale.py.

    Args:
        work: an empty folder for the dump, the output, and Ray's own files.
    Raises:
        RayviewError: the job failed.
    """
    write_model(work / "model", DEFAULT_MODEL, max_length=128)
    write_dump(locate(work / "dump"), rows=rows, shards=1, seed=0)
    about = {"dump": str(work / "dump"), "model": str(work / "model"), "output": str(work / "out")}
    pace = {"actors": _ACTORS, "rows_per_s": rows / (60 * minutes) / _ACTORS}
    target = "pipeline.benchmarks.scale:sleeping_actors"
    command = [sys.executable, "-m", "pipeline.benchmarks.rounds", target, json.dumps(about | pace)]
    course, start, before = Course(), time.monotonic(), _shared()

    def see(sample: Sample) -> None:
        seen = course.own_bytes.setdefault(sample.kind, [])
        seen.append((time.monotonic() - start, sample.own_bytes))
        if sample.kind == "driver":
            course.spilled_bytes = max(course.spilled_bytes, _spilled(work))
            course.store_bytes = max(course.store_bytes, _shared() - before)

    env = os.environ | {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(work)}
    code = run_measured(command, env, see, _EVERY_S)
    if code:
        raise RayviewError(f"the job of {rows:,} rows ended with exit code {code}")
    course.seconds = time.monotonic() - start
    manifest = read_manifest(locate(work / "out"), ScoreDetails)
    course.chunks = sum("/" not in o.path for o in manifest.outputs)
    course.most_waiting = manifest.details.bill.most_waiting_chunks
    return course


def _shared() -> int:
    """Bytes of the memory that this machine's processes share, where Linux has it as a filesystem."""
    return shutil.disk_usage(_SHARED).used if _SHARED.exists() else 0


def _spilled(folder: Path) -> int:
    """Bytes that Ray has written for want of memory."""
    files = folder.glob("**/ray_spilled_objects*/*")
    return sum(f.stat().st_size for f in files if f.exists())
