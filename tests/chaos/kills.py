"""Kills processes of a scoring job at random, and restarts the job until it completes.

A seed determines the processes and the times; the work in progress at those times differs from run to run.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.details import ScoreDetails
from pipeline.rundir.manifest import read_manifest
from pipeline.storage.location import locate
from tests.chaos.job import TRACE

ROOT = Path(__file__).resolve().parents[2]
SETS = ["input.chunk_bytes=65536", "score.precision=float32"]
MAX_STARTS = 12
MAX_START_S = 120
WHILE_SCORING_FRAC = 0.75

KILLS = ((1, 2, 3), (0, 1, 2), (0, 1), (0,))
"""Possible numbers of kills after the first start, the second, and so on. The last entry is zero only, so
that the job completes."""

VICTIMS = {
    "driver": r"tests\.chaos\.job",
    "scorer": r"^ray::.*(Traced|Predictor)",
    "encoder": r"^ray::.*encode_chunk",
    "writer": r"^ray::.*write_chunk",
    "reader": r"^ray::.*ReadTasks",
    "raylet": r"^\S*/raylet( |$)",
}
"""Kinds of processes, and patterns that match their command lines while they work."""

BRIEF = ("encoder", "writer", "reader")
"""Kinds with short tasks, which random times would miss: some runs wait for one of them."""


@dataclass
class Outcome:
    """Starts, kills and chunks of a job until it completed."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    chunks_started: int = 0
    """Chunks that reached the model, including repetitions."""


def rows_of(scores: str | Path) -> pa.Table:
    """All rows of a scores directory, in the order of the dump."""
    where = locate(scores)
    manifest = read_manifest(where, ScoreDetails)
    assert manifest is not None
    parts = [o.path for o in manifest.outputs if "/" not in o.path]
    table = pa.concat_tables([pq.read_table(where.child(path).open_input()) for path in parts])
    table = table.set_column(0, "source", table["source"].cast(pa.string()))
    # Some broken lines have NaN stars, and NaN does not equal itself.
    stars = pc.if_else(pc.is_nan(table["stars"]), -1, table["stars"])
    table = table.set_column(table.schema.get_field_index("stars"), "stars", stars)
    return table.sort_by([("source", "ascending"), ("line", "ascending")])


def run_to_completion(
    dump: Path, model: str, folder: Path, seed: int | None, output: str | None = None
) -> Outcome:
    """Restart the job, killing some of its processes each time, until it succeeds.

    Args:
        folder: directory for the logs, and for the scores unless `output` is given.
        seed: seed of the kills; None for no kills.
    """
    rng, found, kinds = random.Random(seed), Outcome(), list(VICTIMS)
    trace = folder / "trace"
    env = os.environ | {"RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1", TRACE: str(trace)}
    scores = output or str(folder / "scores")
    command = [sys.executable, "-m", "tests.chaos.job", str(dump), model, scores, *SETS]
    code = None
    while code != 0:
        found.starts += 1
        assert found.starts <= MAX_STARTS
        with (folder / f"log-{found.starts}").open("w") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=log, stdout=log)
            try:
                kills = 0 if seed is None else rng.choice(KILLS[min(found.starts, len(KILLS)) - 1])
                if kills and found.starts == 1 and (kind := kinds[seed % len(kinds)]) in BRIEF:
                    kill_one(process, found.kills, [kind], timeout_s=60)
                    kills -= 1
                before = size_of(trace)
                for _ in range(kills):
                    # Most kills happen while rows are scored, some while the job starts.
                    if rng.random() < WHILE_SCORING_FRAC:
                        wait_for(process, lambda before=before: size_of(trace) > before)
                    time.sleep(rng.uniform(0.1, 4))
                    kill_one(process, found.kills, rng.sample(kinds, len(kinds)), timeout_s=0.7)
                code = process.wait(MAX_START_S)
            finally:
                end_all(process)
    found.chunks_started = len(trace.read_text().splitlines())
    return found


def kill_one(
    process: subprocess.Popen[bytes], kills: Counter[str], kinds: list[str], timeout_s: float
) -> None:
    """Kill one process of a job, of the first kind that starts work within `timeout_s`."""

    def kill(kind: str) -> bool:
        found = [p for p in processes_of(process) if re.search(VICTIMS[kind], title(p))]
        if not found:
            return False
        try:
            found[0].kill()
        except psutil.NoSuchProcess:
            return False
        kills[kind] += 1
        return True

    for kind in kinds:
        if process.poll() is not None or wait_for(process, partial(kill, kind), timeout_s):
            return


def wait_for(process: subprocess.Popen[bytes], condition: Callable[[], bool], timeout_s: float = 60) -> bool:
    """Wait for a condition; return whether it became true before the process ended or the timeout."""
    deadline = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def size_of(file: Path) -> int:
    """Size of a file in bytes; 0 if it does not exist."""
    return file.stat().st_size if file.exists() else 0


def processes_of(process: subprocess.Popen[bytes]) -> Iterator[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        own = psutil.Process(process.pid)
        yield own
        yield from own.children(recursive=True)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def end_all(process: subprocess.Popen[bytes]) -> None:
    """Kill a job and its child processes; Ray's processes outlive their driver for a while."""
    started = list(processes_of(process))
    process.kill()
    process.wait()
    for one in started:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(started, timeout=20)
