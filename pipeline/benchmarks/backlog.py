"""Backlog and memory of a long job in which the model is the bottleneck."""

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

_SHARED_MEMORY = Path("/dev/shm")
_ACTORS = 2
_SAMPLE_INTERVAL_S = 1.0


@dataclass
class Usage:
    """Resources that a job used over time."""

    seconds: float = 0.0
    chunks: int = 0
    max_waiting_chunks: int = 0
    """Maximum number of chunks that were encoded but not yet at the model."""
    store_bytes: int = 0
    """Maximum growth of shared memory: Ray's object store, and other programs."""
    spilled_bytes: int = 0
    """Maximum size of the files to which Ray spilled objects."""
    private_bytes: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """Kind of process → time in seconds and private memory in bytes of each sample."""

    @property
    def peak_bytes(self) -> dict[str, tuple[int, int]]:
        """Kind of process → maximum memory in the first and in the last quarter of the job."""
        peaks = {}
        for kind, samples in self.private_bytes.items():
            first = [size for time_s, size in samples if time_s <= self.seconds / 4]
            last = [size for time_s, size in samples if time_s >= self.seconds * 3 / 4]
            if first and last:
                peaks[kind] = max(first), max(last)
        return peaks


def run_bottleneck(work: Path, rows: int, minutes: int) -> Usage:
    """Score a dump in one gz file with sleeping actors (see scale.py) in about `minutes` minutes.

    Args:
        work: an empty directory for the dump, the output, and Ray's files.
    Raises:
        RayviewError: the job failed.
    """
    write_model(work / "model", DEFAULT_MODEL, max_length=128)
    write_dump(locate(work / "dump"), rows=rows, shards=1, seed=0)
    paths = {"dump": str(work / "dump"), "model": str(work / "model"), "output": str(work / "out")}
    pace = {"actors": _ACTORS, "rows_per_s": rows / (60 * minutes) / _ACTORS}
    target = "pipeline.benchmarks.scale:sleeping_actors"
    command = [sys.executable, "-m", "pipeline.benchmarks.rounds", target, json.dumps(paths | pace)]
    usage, start, shared_before = Usage(), time.monotonic(), _shared_bytes()

    def record(sample: Sample) -> None:
        samples = usage.private_bytes.setdefault(sample.kind, [])
        samples.append((time.monotonic() - start, sample.private_bytes))
        if sample.kind == "driver":
            usage.spilled_bytes = max(usage.spilled_bytes, _spilled_bytes(work))
            usage.store_bytes = max(usage.store_bytes, _shared_bytes() - shared_before)

    env = os.environ | {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(work)}
    code = run_measured(command, env, record, _SAMPLE_INTERVAL_S)
    if code:
        raise RayviewError(f"the job of {rows:,} rows ended with exit code {code}")
    usage.seconds = time.monotonic() - start
    manifest = read_manifest(locate(work / "out"), ScoreDetails)
    usage.chunks = sum("/" not in o.path for o in manifest.outputs)
    usage.max_waiting_chunks = manifest.details.bill.most_waiting_chunks
    return usage


def _shared_bytes() -> int:
    """Shared memory in use on this machine; 0 if it is not mounted as a filesystem."""
    return shutil.disk_usage(_SHARED_MEMORY).used if _SHARED_MEMORY.exists() else 0


def _spilled_bytes(directory: Path) -> int:
    """Size of the files to which Ray spilled objects."""
    files = directory.glob("**/ray_spilled_objects*/*")
    return sum(f.stat().st_size for f in files if f.exists())
