"""Contenders whose results follow from their arguments. `rounds` imports them in processes of their own."""

from __future__ import annotations


def take(seconds: float) -> float:
    """A contender that takes a given time, in seconds."""
    return seconds


def fail(reason: str) -> float:
    """A contender that cannot do the work."""
    raise ValueError(reason)
