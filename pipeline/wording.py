"""Numbers in sentences: 1 line, 2 lines."""

from __future__ import annotations


def agree(number: float, one: str, many: str) -> str:
    """The word that goes with a number: `one` with 1 alone."""
    return one if number == 1 else many


def counted(number: float, what: str) -> str:
    """A number and what it counts, a noun that takes an s: `1 line`, `1,200 lines`, `0.5 CPUs`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {what}{agree(number, '', 's')}"
