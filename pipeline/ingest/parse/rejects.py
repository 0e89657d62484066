"""Rejected lines: the closed list of reasons, and the table that stores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

import pyarrow as pa

from pipeline.ingest.parse.columns import repeated
from pipeline.ingest.read.limits import MAX_RAW_BYTES


class Reason(str, Enum):
    """Reason why a line is rejected; its value is stored in the tables in rejects/.

    pipeline/ingest/README.md describes each.
    """

    BAD_JSON = "bad_json"
    BAD_PYTHON = "bad_python"
    BAD_CSV = "bad_csv"
    BAD_FASTTEXT = "bad_fasttext"
    LINE_TOO_LONG = "line_too_long"
    NOT_AN_OBJECT = "not_an_object"
    BAD_ENCODING = "bad_encoding"
    EMPTY_LINE = "empty_line"
    MISSING_TEXT = "missing_text"
    EMPTY_TEXT = "empty_text"
    MISSING_STARS = "missing_stars"
    STARS_OUT_OF_RANGE = "stars_out_of_range"
    MISSING_LABEL = "missing_label"
    UNKNOWN_LABEL = "unknown_label"
    MODEL_FAILED = "model_failed"
    WORKER_DIED = "worker_died"
    NO_TEXT = "no_text"
    NOT_RATED = "not_rated"
    FILTERED_UNVERIFIED = "filtered_unverified"
    NEUTRAL_DROPPED = "neutral_dropped"
    MISSING_TIMESTAMP = "missing_timestamp"
    DUPLICATE = "duplicate"
    CONFLICTING_STARS = "conflicting_stars"
    REPEATED_HEADER = "repeated_header"
    BLANK_LINE = "blank_line"

    @property
    def is_filter(self) -> bool:
        """Whether the line is valid but excluded by the settings, or holds no review.

        Otherwise it is an error, which counts toward `input.max_rejected_frac`.
        """
        return self in (
            Reason.NO_TEXT,
            Reason.NOT_RATED,
            Reason.FILTERED_UNVERIFIED,
            Reason.NEUTRAL_DROPPED,
            Reason.MISSING_TIMESTAMP,
            Reason.DUPLICATE,
            Reason.CONFLICTING_STARS,
            Reason.REPEATED_HEADER,
            Reason.BLANK_LINE,
        )


EXTRA_ERROR_LINES = "extra_error_lines"
"""Name of a count of chunks: physical lines of CSV records rejected for an error, without their first lines.
Lines of reviews that the model failed on are not known, so each counts as one."""

REJECT_SCHEMA = pa.schema(
    [
        ("source", pa.dictionary(pa.int32(), pa.string())),
        ("line", pa.int64()),
        ("byte_offset", pa.int64()),
        ("reason", pa.dictionary(pa.int32(), pa.string())),
        ("detail", pa.string()),
        ("raw", pa.binary()),
    ]
)


class RejectedLine(NamedTuple):
    """One rejected line."""

    line: int
    """Line number in its file, from 1."""
    byte_offset: int | None
    """Offset of its first byte in its chunk; None for Parquet, whose rows have no offset."""
    reason: Reason
    detail: str
    raw: bytes | None
    """None if the line is not known, as in the scoring step."""


def reject_table(source: str, chunk_offset: int | None, lines: Iterable[RejectedLine]) -> pa.Table:
    """Rejected lines of one chunk in order of line, as stored on disk.

    Args:
        chunk_offset: offset of the chunk in the decompressed file; None if the chunk has no offset.
    """
    ordered = sorted(lines, key=lambda r: r.line)
    offsets = [
        None if chunk_offset is None or r.byte_offset is None else chunk_offset + r.byte_offset
        for r in ordered
    ]
    return pa.table(
        {
            "source": repeated(source, len(ordered)),
            "line": [r.line for r in ordered],
            "byte_offset": pa.array(offsets, pa.int64()),
            "reason": pa.array([r.reason.value for r in ordered], pa.string()).dictionary_encode(),
            "detail": [r.detail for r in ordered],
            "raw": pa.array([r.raw and r.raw[:MAX_RAW_BYTES] for r in ordered], pa.binary()),
        },
        schema=REJECT_SCHEMA,
    )


def count_errors(rejected: Mapping[str, int]) -> int:
    """Number of rejected lines that are errors and not filtered, from their counts by reason."""
    filters = {reason.value for reason in Reason if reason.is_filter}
    return sum(n for reason, n in rejected.items() if reason not in filters)


def count_extra_lines(lines: Iterable[RejectedLine]) -> int:
    """Physical lines of records rejected for an error, without the first line of each."""
    return sum(r.raw.count(b"\n") for r in lines if r.raw and not r.reason.is_filter)
