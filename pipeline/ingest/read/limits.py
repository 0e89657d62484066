"""Limits on what is held in memory of an input file."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import InputConfig

MAX_RAW_BYTES = 4096
"""Bytes that are kept of a rejected record; fixed, as they are part of the format of rejects/."""


@dataclass(frozen=True)
class ReadLimits:
    """Limits of one reading of the input; two readings with the same limits cut the same chunks."""

    max_line_bytes: int = InputConfig().max_line_bytes
    """A longer record is rejected and never held in memory."""
    max_records: int = 1 << 16
    """Records in a chunk: very short ones, such as blank lines, take many times their size in memory."""

    @classmethod
    def of(cls, config: InputConfig) -> ReadLimits:
        """The limits that the settings give."""
        return cls(max_line_bytes=config.max_line_bytes)


DEFAULT_LIMITS = ReadLimits()
"""Limits where the settings say nothing else."""
