"""The memory of each process of a job, sampled while it runs."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Sample:
    """One process at one moment."""

    kind: str
    own_bytes: int
    """Its memory, without what it shares with others."""


def run_measured(
    command: list[str], env: dict[str, str], see: Callable[[Sample], None], every_s: float = 0.1
) -> int:
    """Run a command to its end, and watch it and all its descendants.

    Args:
        see: is told of each process every so many seconds.
    Returns:
        Its exit code.
    """
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stop = threading.Event()

    def watch() -> None:
        root = psutil.Process(process.pid)
        while not stop.wait(every_s):
            for sample in _sample(root):
                see(sample)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return process.wait()
    finally:
        stop.set()
        watcher.join()


def _sample(root: psutil.Process) -> Iterator[Sample]:
    with suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                memory = process.memory_info()
                kind = "driver" if process == root else _kind(process.cmdline())
                yield Sample(kind, memory.rss - memory.shared)


def _kind(command: list[str]) -> str:
    """`ray worker` for a process that runs tasks, whatever task it runs just now; else the program."""
    name = (command or [""])[0]
    if name.startswith("ray::"):
        return "Ray's own" if re.match(r"ray::(_|Dashboard|RuntimeEnv|Idle?Spawn)", name) else "worker"
    return "Ray's own"
