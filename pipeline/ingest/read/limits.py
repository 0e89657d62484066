"""Limits on the memory that reading an input file takes."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import InputConfig

MAX_RAW_BYTES = 4096
"""Bytes that are kept of a rejected record; fixed, because they are part of the format of rejects/."""


@dataclass(frozen=True)
class ReadLimits:
    """Limits of one read of the input; two reads with the same limits give the same chunks."""

    max_line_bytes: int = InputConfig().max_line_bytes
    """Maximum size of a record; a longer one is rejected and never held in memory."""
    max_records: int = 1 << 16
    """Maximum number of records in a chunk: short ones, such as blank lines, need many times their size."""

    @classmethod
    def of(cls, config: InputConfig) -> ReadLimits:
        """Limits from the settings."""
        return cls(max_line_bytes=config.max_line_bytes)


DEFAULT_LIMITS = ReadLimits()
"""Limits with the default settings."""
