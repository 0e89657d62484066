"""What contenders of several benchmarks have in common; needs no package, as Daft runs without ours."""

from __future__ import annotations

import os
from pathlib import Path

MAX_LENGTH = 128
"""Tokens in a row, at most."""

BEGAN = "RAYVIEW_BENCHBEGAN"
"""Environment variable: the file whose time of writing is that of the first row at a model."""


def mark_begin() -> None:
    """Leave a mark, with the time of the first call in any process."""
    mark = Path(os.environ[BEGAN])
    if not mark.exists():
        mark.touch()


def began() -> float:
    """When the first row was at a model, in seconds since 1970."""
    return Path(os.environ[BEGAN]).stat().st_mtime


def join(summary: str | None, text: str | None) -> str:
    """Summary and body as one text, as others would join them."""
    return f"{summary or ''} {text or ''}"


def files_of(dump: str) -> list[str]:
    """The files of a folder, by name."""
    return sorted(str(f) for f in Path(dump).iterdir())
