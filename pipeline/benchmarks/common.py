"""Code shared by contenders; standard library only, because Daft runs in a separate environment."""

from __future__ import annotations

import os
from pathlib import Path

MAX_LENGTH = 128
"""Maximum number of tokens of a row."""

START_FILE = "RAYVIEW_BENCH_START_FILE"
"""Environment variable: path of a file whose modification time is the start of the first forward pass."""


def record_start() -> None:
    """Record the time of the first call in any process."""
    file = Path(os.environ[START_FILE])
    if not file.exists():
        file.touch()


def start_time() -> float:
    """Time at which the first rows reached a model, in seconds since 1970."""
    return Path(os.environ[START_FILE]).stat().st_mtime


def join(summary: str | None, text: str | None) -> str:
    """Summary and body as one text."""
    return f"{summary or ''} {text or ''}"


def files_of(dump: str) -> list[str]:
    """Paths of the files of a directory, sorted."""
    return sorted(str(f) for f in Path(dump).iterdir())
