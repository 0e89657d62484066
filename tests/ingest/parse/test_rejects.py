"""The table of rejected lines, and what counts as an error."""

from __future__ import annotations

from pipeline.ingest.parse.rejects import (
    ERRORS,
    FILTERS,
    REJECT_SCHEMA,
    RejectedLine,
    count_errors,
    count_reasons,
    reject_table,
)
from pipeline.ingest.read.limits import MAX_RAW_BYTES

LINES = [
    RejectedLine(12, 90, "bad_json", "late", b"{"),
    RejectedLine(3, 20, "empty_text", "early", b"\xff\x00"),
    RejectedLine(7, 50, "bad_json", "middle", b"x" * (MAX_RAW_BYTES + 1)),
]


def test_rows_go_by_line_with_offsets_in_the_file() -> None:
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


def test_no_lines_make_an_empty_table_of_the_same_schema() -> None:
    table = reject_table("a", 0, [])
    assert table.num_rows == 0
    assert table.schema == REJECT_SCHEMA


def test_reasons_are_counted_by_falling_number() -> None:
    assert list(count_reasons(LINES).items()) == [("bad_json", 2), ("empty_text", 1)]
    assert count_reasons([]) == {}


def test_filters_are_no_errors() -> None:
    assert not set(ERRORS) & set(FILTERS)
    assert count_errors(dict.fromkeys(ERRORS, 2)) == 2 * len(ERRORS)
    assert count_errors(dict.fromkeys(FILTERS, 2)) == 0
    assert count_errors({"bad_json": 3, "neutral_dropped": 4}) == 3
