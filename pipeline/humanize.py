"""Formatting of numbers, texts and errors for one-line messages."""

from __future__ import annotations


def agree(number: float, one: str, many: str) -> str:
    """Form of a word for a number: `one` for 1, `many` for any other number."""
    return one if number == 1 else many


def counted(number: float, what: str) -> str:
    """A number and the noun that it counts, with a plural s: `1 line`, `1,200 lines`, `0.5 CPUs`."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {what}{agree(number, '', 's')}"


def printable(text: str, max_chars: int | None = None, *, ellipsis: str = "") -> str:
    """Text as one printable line: unprintable characters become spaces.

    Args:
        max_chars: longer text is cut there.
        ellipsis: appended to text that was cut.
    """
    shown = "".join(c if c.isprintable() else " " for c in text[:max_chars])
    return shown + ellipsis if max_chars is not None and len(text) > max_chars else shown


def first_line(error: BaseException, max_chars: int = 200) -> str:
    """First line of an error, or the first two if the first only introduces the second."""
    first, *others = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    return " ".join([first, *others[: first.endswith(":")]])[:max_chars]
