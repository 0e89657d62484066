"""Sampling of the memory of each process of a job."""

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
    """Memory of one process at one time."""

    kind: str
    private_bytes: int
    """Resident memory without shared pages."""


def run_measured(
    command: list[str], env: dict[str, str], record: Callable[[Sample], None], interval_s: float = 0.1
) -> int:
    """Run a command, and sample its memory and that of all its descendants.

    Args:
        record: called with a sample of each process every `interval_s` seconds.
    Returns:
        The exit code of the command.
    """
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stop = threading.Event()

    def watch() -> None:
        root = psutil.Process(process.pid)
        while not stop.wait(interval_s):
            for sample in _sample(root):
                record(sample)

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
    """`worker` for a process that runs tasks or actors, else `Ray's own`."""
    name = (command or [""])[0]
    if name.startswith("ray::"):
        return "Ray's own" if re.match(r"ray::(_|Dashboard|RuntimeEnv|Idle?Spawn)", name) else "worker"
    return "Ray's own"
