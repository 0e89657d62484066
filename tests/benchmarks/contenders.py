"""Contenders whose arguments determine their results; `rounds` runs each in its own process."""

from __future__ import annotations


def take(seconds: float) -> float:
    """A contender with the given duration in seconds."""
    return seconds


def fail(reason: str) -> float:
    """A contender that fails."""
    raise ValueError(reason)
