"""Kills processes of a scoring job at random, and starts it again until it is done."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.manifest import read_manifest
from pipeline.storage import locate
from tests.chaos.job import TRACE

ROOT = Path(__file__).resolve().parents[2]
SETS = ["input.chunk_bytes=65536", "score.precision=float32"]
MOST_STARTS = 12
LONGEST_S = 120

VICTIMS = {
    "driver": r"tests\.chaos\.job",
    "scorer": r"^ray::.*(Traced|Predictor)",
    "encoder": r"^ray::.*encode_chunk",
    "writer": r"^ray::.*write_chunk",
    "reader": r"^ray::.*ReadTasks",
    "raylet": r"(^|/)raylet\b",
}
"""What is killed, by what its command line looks like while it is at work."""


@dataclass
class Outcome:
    """What a job went through."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    begun: int = 0
    """Chunks that reached the model, those that did so again included."""


def rows_of(scores: Path) -> pa.Table:
    manifest = read_manifest(locate(scores), "score")
    parts = [o.path for o in manifest.outputs if "/" not in o.path]
    table = pa.concat_tables([pq.read_table(scores / path) for path in parts])
    table = table.set_column(0, "source", table["source"].cast(pa.string()))
    return table.sort_by([("source", "ascending"), ("line", "ascending")])


def run_to_the_end(dump: Path, model: str, folder: Path, seed: int | None) -> Outcome:
    """Start the job again and again, killing some process of it each time, until it ends well."""
    dice, found = random.Random(seed), Outcome()
    trace = folder / "trace"
    env = os.environ | {"RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1", TRACE: str(trace)}
    command = [sys.executable, "-m", "tests.chaos.job", str(dump), model, str(folder / "scores"), *SETS]
    code = None
    while code != 0:
        found.starts += 1
        assert found.starts <= MOST_STARTS
        with (folder / f"log-{found.starts}").open("w") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=log, stdout=log)
            try:
                # The later ones are left alone more often, so that there is an end.
                kills = 0 if seed is None else dice.choice([0, 1, 1, 2, 3][: max(1, 6 - found.starts)])
                for _ in range(kills):
                    kill_one(process, dice, found.kills)
                code = process.wait(LONGEST_S)
            finally:
                end_all(process)
    found.begun = len(trace.read_text().splitlines())
    return found


def kill_one(process: subprocess.Popen[bytes], dice: random.Random, kills: Counter[str]) -> None:
    """After a random time, kill a random one of the processes of a job that are at work."""
    time.sleep(dice.uniform(0.5, 12))
    kind = dice.choice(list(VICTIMS))
    deadline = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < deadline:
        found = [p for p in processes_of(process) if re.search(VICTIMS[kind], title(p))]
        if found:
            with suppress(psutil.NoSuchProcess):
                dice.choice(found).kill()
                kills[kind] += 1
            return
        time.sleep(0.02)


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
