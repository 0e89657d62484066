"""Contenders with results given by their arguments; `rounds` runs them in processes of their own."""

from __future__ import annotations


def take(seconds: float) -> float:
    """A contender with the given duration in seconds."""
    return seconds


def fail(reason: str) -> float:
    """A contender that fails."""
    raise ValueError(reason)
