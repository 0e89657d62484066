"""Kills processes of a scoring job at random, and starts it again until it is done.

Which processes, and when, follows from a seed; what the machine makes of it does not.
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
MOST_STARTS = 12
LONGEST_S = 120
AT_WORK_FRAC = 0.75

KILLS = ((1, 2, 3), (0, 1, 2), (0, 1), (0,))
"""How many there may be at the first start, at the second, and so on: there shall be an end."""

VICTIMS = {
    "driver": r"tests\.chaos\.job",
    "scorer": r"^ray::.*(Traced|Predictor)",
    "encoder": r"^ray::.*encode_chunk",
    "writer": r"^ray::.*write_chunk",
    "reader": r"^ray::.*ReadTasks",
    "raylet": r"^\S*/raylet( |$)",
}
"""What is killed, by what its command line looks like while it is at work."""

BRIEF = ("encoder", "writer", "reader")
"""These are at work for moments, which chance does not hit: in some runs one of them is waited for."""


@dataclass
class Outcome:
    """What a job went through."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    begun: int = 0
    """Chunks that reached the model, those that did so again included."""


def rows_of(scores: str | Path) -> pa.Table:
    """All rows of a directory of scores, in the order of the dump."""
    where = locate(scores)
    manifest = read_manifest(where, ScoreDetails)
    assert manifest is not None
    parts = [o.path for o in manifest.outputs if "/" not in o.path]
    table = pa.concat_tables([pq.read_table(where.child(path).open_input()) for path in parts])
    table = table.set_column(0, "source", table["source"].cast(pa.string()))
    # Some broken lines have stars that are no number, which equal nothing.
    stars = pc.if_else(pc.is_nan(table["stars"]), -1, table["stars"])
    table = table.set_column(table.schema.get_field_index("stars"), "stars", stars)
    return table.sort_by([("source", "ascending"), ("line", "ascending")])


def run_to_the_end(
    dump: Path, model: str, folder: Path, seed: int | None, output: str | None = None
) -> Outcome:
    """Start the job again and again, killing some process of it each time, until it ends well.

    Args:
        folder: for logs, and for the scores.
        seed: None: nothing is killed.
        output: where the scores go instead.
    """
    dice, found, kinds = random.Random(seed), Outcome(), list(VICTIMS)
    trace = folder / "trace"
    env = os.environ | {"RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1", TRACE: str(trace)}
    scores = output or str(folder / "scores")
    command = [sys.executable, "-m", "tests.chaos.job", str(dump), model, scores, *SETS]
    code = None
    while code != 0:
        found.starts += 1
        assert found.starts <= MOST_STARTS
        with (folder / f"log-{found.starts}").open("w") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=log, stdout=log)
            try:
                kills = 0 if seed is None else dice.choice(KILLS[min(found.starts, len(KILLS)) - 1])
                if kills and found.starts == 1 and (kind := kinds[seed % len(kinds)]) in BRIEF:
                    kill_one(process, found.kills, [kind], at_most_s=60)
                    kills -= 1
                before = size_of(trace)
                for _ in range(kills):
                    # Most of them while rows are scored, some while all that is started for it.
                    if dice.random() < AT_WORK_FRAC:
                        wait_for(process, lambda before=before: size_of(trace) > before)
                    time.sleep(dice.uniform(0.1, 4))
                    kill_one(process, found.kills, dice.sample(kinds, len(kinds)), at_most_s=0.7)
                code = process.wait(LONGEST_S)
            finally:
                end_all(process)
    found.begun = len(trace.read_text().splitlines())
    return found


def kill_one(
    process: subprocess.Popen[bytes], kills: Counter[str], kinds: list[str], at_most_s: float
) -> None:
    """Kill a process of a job: of the first kind that is at work within some seconds."""

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
        if process.poll() is not None or wait_for(process, partial(kill, kind), at_most_s):
            return


def wait_for(process: subprocess.Popen[bytes], what: Callable[[], bool], at_most_s: float = 60) -> bool:
    """Whether something comes to be so before a process has ended, and before it takes too long."""
    deadline = time.monotonic() + at_most_s
    while process.poll() is None and time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


def size_of(file: Path) -> int:
    """Bytes of a file that need not be there yet."""
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
    """End what a job has started; Ray's own processes follow their driver, if not at once."""
    started = list(processes_of(process))
    process.kill()
    process.wait()
    for one in started:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(started, timeout=20)
