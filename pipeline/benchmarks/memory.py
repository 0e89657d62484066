"""The memory of each process of a job, sampled while it runs."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

_EVERY_S = 0.1


@dataclass
class Peaks:
    """The largest memory seen, by kind of process."""

    by_kind: dict[str, int] = field(default_factory=dict)
    """Bytes of the largest process of each kind, without what it shares with others."""

    def see(self, kind: str, size: int) -> None:
        """Take in a sample."""
        self.by_kind[kind] = max(self.by_kind.get(kind, 0), size)


def run_measured(command: list[str], env: dict[str, str]) -> tuple[int, Peaks]:
    """Run a command to its end, and watch it and all its descendants.

    Returns:
        Its exit code, and the peaks. Ray's object store does not count: it is shared, and of a fixed size.
    """
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peaks, stop = Peaks(), threading.Event()

    def watch() -> None:
        root = psutil.Process(process.pid)
        while not stop.wait(_EVERY_S):
            for kind, size in _sample(root):
                peaks.see(kind, size)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        code = process.wait()
    finally:
        stop.set()
        watcher.join()
    return code, peaks


def _sample(root: psutil.Process) -> Iterator[tuple[str, int]]:
    with suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                memory = process.memory_info()
                kind = "driver" if process == root else _kind(process.cmdline())
                yield kind, memory.rss - memory.shared


def _kind(command: list[str]) -> str:
    """`ray worker` for a process that runs tasks, whatever task it runs just now; else the program."""
    name = (command or [""])[0]
    if name.startswith("ray::"):
        return "Ray's own" if re.match(r"ray::(_|Dashboard|RuntimeEnv|Idle?Spawn)", name) else "worker"
    return "Ray's own"
