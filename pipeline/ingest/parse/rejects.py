"""Lines that leave the stream: a closed list of reasons, and the table that keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

from pipeline.ingest.parse.columns import repeated
from pipeline.ingest.read.limits import MAX_RAW_BYTES

ERRORS = (
    "bad_json",
    "bad_python",
    "bad_csv",
    "line_too_long",
    "not_an_object",
    "bad_encoding",
    "empty_line",
    "missing_text",
    "empty_text",
    "missing_stars",
    "stars_out_of_range",
    "missing_label",
    "unknown_label",
    "model_failed",
    "worker_died",
)
"""Something is wrong with the line; counts towards `input.max_rejected_frac`."""

FILTERS = (
    "filtered_unverified",
    "neutral_dropped",
    "missing_timestamp",
    "duplicate",
    "conflicting_stars",
)
"""The line is fine, and the settings leave it out."""

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
    """One line that is not kept."""

    line: int
    """Number in its file, from 1."""
    byte_offset: int | None
    """Of its first byte, within the chunk that it was found in; None where rows have no such place."""
    reason: str
    detail: str
    raw: bytes | None
    """None where the line is not at hand."""


def reject_table(source: str, chunk_offset: int | None, lines: Iterable[RejectedLine]) -> pa.Table:
    """Rejected lines of one chunk in order of line, as they are kept on disk.

    Args:
        chunk_offset: where the chunk begins in the decompressed file; None where it has no such place.
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
            "reason": pa.array([r.reason for r in ordered], pa.string()).dictionary_encode(),
            "detail": [r.detail for r in ordered],
            "raw": pa.array([r.raw and r.raw[:MAX_RAW_BYTES] for r in ordered], pa.binary()),
        },
        schema=REJECT_SCHEMA,
    )


def count_reasons(lines: Iterable[RejectedLine]) -> dict[str, int]:
    """How many lines left for each reason, by falling number."""
    return dict(Counter(r.reason for r in lines).most_common())


def count_errors(rejected: dict[str, int]) -> int:
    """How many of the counted rejects are errors, and not filters."""
    return sum(n for reason, n in rejected.items() if reason not in FILTERS)
