"""The table of rejected lines, and which reasons count as errors."""

from __future__ import annotations

from pipeline.ingest.parse.rejects import (
    REJECT_SCHEMA,
    Reason,
    RejectedLine,
    count_errors,
    reject_table,
)
from pipeline.ingest.read.limits import MAX_RAW_BYTES

LINES = [
    RejectedLine(12, 90, Reason.BAD_JSON, "late", b"{"),
    RejectedLine(3, 20, Reason.EMPTY_TEXT, "early", b"\xff\x00"),
    RejectedLine(7, 50, Reason.BAD_JSON, "middle", b"x" * (MAX_RAW_BYTES + 1)),
]


def test_rows_are_ordered_by_line_with_offsets_in_the_file() -> None:
    table = reject_table("/in/a.gz", 1000, LINES)
    assert table.schema == REJECT_SCHEMA
    assert table["source"].to_pylist() == ["/in/a.gz"] * 3
    assert table["line"].to_pylist() == [3, 7, 12]
    assert table["byte_offset"].to_pylist() == [1020, 1050, 1090]
    assert table["reason"].to_pylist() == ["empty_text", "bad_json", "bad_json"]
    assert table["detail"].to_pylist() == ["early", "middle", "late"]


def test_raw_lines_are_kept_as_bytes_up_to_a_limit() -> None:
    raw = reject_table("a", 0, LINES)["raw"].to_pylist()
    assert raw == [b"\xff\x00", b"x" * MAX_RAW_BYTES, b"{"]


def test_empty_table_has_the_same_schema() -> None:
    table = reject_table("a", 0, [])
    assert table.num_rows == 0
    assert table.schema == REJECT_SCHEMA


def test_reason_is_stored_as_its_value() -> None:
    lines = [RejectedLine(number, None, reason, "", None) for number, reason in enumerate(Reason)]
    stored = reject_table("a", None, lines)["reason"].to_pylist()
    assert [Reason(text) for text in stored] == list(Reason)
    assert all(text == text.lower() for text in stored)


def test_filters_are_not_errors() -> None:
    filters = [reason.value for reason in Reason if reason.is_filter]
    assert filters == [
        "no_text",
        "not_rated",
        "filtered_unverified",
        "neutral_dropped",
        "missing_timestamp",
        "duplicate",
        "conflicting_stars",
        "repeated_header",
        "blank_line",
    ]
    assert count_errors(dict.fromkeys(filters, 2)) == 0
    counts = {reason.value: 2 for reason in Reason}
    assert count_errors(counts) == 2 * (len(Reason) - len(filters))
    # An unknown reason, from a later version, counts as an error: it may be one.
    assert count_errors({"bad_json": 3, "neutral_dropped": 4, "later": 1}) == 4
