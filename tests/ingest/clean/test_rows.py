"""Cleaning of a chunk: every line is a row or a reject with its number, offset and reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import CARRIED_COLUMNS, Recipe, keep_lines
from pipeline.ingest.parse.formats import FORMATS
from pipeline.ingest.parse.rejects import Reason, reject_table
from pipeline.ingest.read.chunks import Chunk, ChunkHeader
from pipeline.ingest.read.cutting import LINES
from tests.texts import UNICODE

FORMAT = FORMATS[0]
GOOD = {"overall": 5.0, "summary": "Nice", "reviewText": "Good shirt", "verified": True, "asin": "0001"}


def line(**fields: Any) -> bytes:
    """A valid line with some fields replaced; None removes a field."""
    return json.dumps({k: v for k, v in (GOOD | fields).items() if v is not None}).encode()


def chunk_of(*lines: bytes, first_line: int = 1, byte_offset: int = 0, newline: bool = True) -> Chunk:
    raw = b"\n".join(lines) + (b"\n" if newline else b"")
    return Chunk(
        ChunkHeader(0, "/in/a", 0, first_line, LINES.count(raw), last=True, broken=None, bytes_read=0),
        byte_offset,
        raw,
    )


def keep(chunk: Chunk, recipe: Recipe) -> tuple[Any, list[Any]]:
    kept = keep_lines(chunk, FORMAT, recipe)
    return kept.rows, kept.rejected


def make_recipe(scheme: str | None = "stars", *, verified_only: bool = False, separator: str = " ") -> Recipe:
    return Recipe(separator, 32, verified_only, label_scheme(scheme) if scheme else None)


@pytest.mark.parametrize(
    ("reason", "bad", "detail"),
    [
        ("bad_json", b'{"overall": 5, ', "truncated"),
        ("not_an_object", b"[1, 2]", "a JSON list, not an object"),
        ("bad_encoding", b'{"reviewText": "\xff\xfe"}', "utf-8"),
        ("empty_line", b"", ""),
        ("empty_line", b" \t\r", ""),
        ("missing_text", line(summary=None, reviewText=None), "none of summary, reviewText"),
        ("empty_text", line(summary=" \u00a0", reviewText="\t\n"), "only white space"),
        ("missing_stars", line(overall=None), "no overall"),
        ("stars_out_of_range", line(overall=6), "overall is 6, not 1 to 5"),
        (
            "stars_out_of_range",
            line(overall=0),
            'overall is 0, not 1 to 5; if 0 means "not rated", set labels.unr',
        ),
        ("stars_out_of_range", line(overall=4.3), "overall is 4.3, not 1 to 5; labels.scale=1-5 allows any"),
        ("stars_out_of_range", line(overall=4.999999), "overall is 4.999999, not 1 to 5"),
        ("stars_out_of_range", line(overall=1e300), "overall is 1e+300, not 1 to 5"),
        ("stars_out_of_range", line(overall="5 points"), "overall is '5 points', not 1 to 5"),
        ("stars_out_of_range", line(overall="3,500"), "overall is '3,500', not 1 to 5"),
        (
            "stars_out_of_range",
            line(overall="4/10"),
            "overall is '4/10', not 1 to 5; out of 10: set",
        ),
        ("stars_out_of_range", line(overall=True), "overall is 'true', not 1 to 5"),
        ("stars_out_of_range", line(overall="x\n" * 900), "overall is 'x\\nx\\nx"),
        ("missing_stars", line(overall=""), "no overall"),
        ("missing_stars", line(overall="  "), "no overall"),
    ],
)
@pytest.mark.parametrize("newline", [True, False])
def test_each_reason_with_its_line_offset_and_content(
    reason: str, bad: bytes, detail: str, newline: bool
) -> None:
    before, after = line(asin="first"), line(asin="last")
    for lines in ([before, bad, after], [bad, after], [before, bad], [bad]):
        if lines[-1] == b"" and not newline:
            continue  # An empty string after the last line end is not a line.
        chunk = chunk_of(*lines, first_line=100, byte_offset=5000, newline=newline)
        rows, rejected = keep(chunk, make_recipe())
        index = lines.index(bad)
        assert [(r.line, r.reason, r.raw) for r in rejected] == [(100 + index, reason, bad)]
        assert detail in rejected[0].detail
        assert len(rejected[0].detail) <= 200
        assert rejected[0].byte_offset == sum(len(x) + 1 for x in lines[:index])
        assert rows["line"].to_pylist() == [100 + i for i in range(len(lines)) if i != index]
        assert len(rows) + len(rejected) == chunk.header.lines
        # The offset in the file is that of the chunk plus that within the chunk.
        (offset,) = reject_table("/in/a", chunk.byte_offset, rejected)["byte_offset"].to_pylist()
        assert (b"#" * 5000 + chunk.raw)[offset : offset + len(bad)] == bad


def test_several_reasons_are_recorded_in_one_chunk() -> None:
    lines = [line(), b"{", line(overall=7), b"", line(reviewText="", summary=""), line(asin="z"), b"3"]
    rows, rejected = keep(chunk_of(*lines), make_recipe())
    assert rows["line"].to_pylist() == [1, 6]
    assert rows["asin"].to_pylist() == ["0001", "z"]
    assert {r.line: r.reason for r in rejected} == {
        2: "bad_json",
        3: "stars_out_of_range",
        4: "empty_line",
        5: "empty_text",
        7: "not_an_object",
    }


def test_first_applicable_reason_is_recorded() -> None:
    bad = line(summary="", reviewText=" ", overall=9, verified=False)
    _, rejected = keep(chunk_of(bad), make_recipe("binary", verified_only=True))
    assert [r.reason for r in rejected] == ["empty_text"]


@pytest.mark.parametrize(
    ("scheme", "labels"),
    [("stars", [0, 1, 2, 3, 4]), ("sentiment", [0, 0, 1, 2, 2]), ("binary", [0, 0, 1, 1])],
)
def test_labels_of_each_scheme(scheme: str, labels: list[int]) -> None:
    lines = [line(overall=stars) for stars in (1, "2", 3.0, "4.0", 5)]
    rows, rejected = keep(chunk_of(*lines), make_recipe(scheme))
    assert rows["label"].to_pylist() == labels
    assert rows["label"].type == "int32"
    if scheme == "binary":
        (dropped,) = rejected
        assert (dropped.line, dropped.reason, dropped.raw) == (3, "neutral_dropped", lines[2])
        assert dropped.detail == "3 stars have no class in binary"
        assert dropped.reason.is_filter
    else:
        assert rejected == []


def test_without_a_scheme_rows_need_no_stars_and_get_no_label() -> None:
    lines = [line(overall=None), line(overall=9), line(overall="x"), line(overall=3)]
    rows, rejected = keep(chunk_of(*lines), make_recipe(None))
    assert rejected == []
    assert "label" not in rows.column_names
    stars = rows["stars"].to_pylist()
    assert (stars[0], stars[1], stars[3]) == (None, 9.0, 3.0)


def test_verified_only_keeps_lines_without_the_field() -> None:
    values = [True, False, None, "true", "false", 0, 1, "whatever"]
    lines = [line(verified=value) for value in values]
    rows, rejected = keep(chunk_of(*lines), make_recipe(verified_only=True))
    assert rows["line"].to_pylist() == [1, 3, 4, 7, 8]
    assert [(r.line, r.reason) for r in rejected] == [(n, "filtered_unverified") for n in (2, 5, 6)]
    assert rejected[0].detail == "verified is false"
    rows, rejected = keep(chunk_of(*lines), make_recipe())
    assert (len(rows), rejected) == (8, [])


def test_text_is_joined_and_trimmed_and_carried_columns_are_unchanged() -> None:
    raw = line(summary="  Nice ", reviewText=" Good\nshirt  ", reviewerID="A1", unixReviewTime=1_500_000_000)
    rows, _ = keep(chunk_of(raw), make_recipe(separator=" | "))
    (row,) = rows.to_pylist()
    assert row["text"] == "Nice  |  Good\nshirt"
    assert (row["asin"], row["user_id"], row["verified"], row["stars"]) == ("0001", "A1", True, 5.0)
    assert row["timestamp"].timestamp() == 1_500_000_000
    assert set(CARRIED_COLUMNS) <= set(row)


def test_empty_chunk() -> None:
    rows, rejected = keep(chunk_of(newline=False), make_recipe())
    assert (rows.num_rows, rejected) == (0, [])
    assert "label" in rows.column_names


field = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(UNICODE, max_size=4),
    st.lists(st.integers(), max_size=2),
)
records = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("overall", "reviewText", "summary", "verified", "unixReviewTime", "asin"), field),
)


@given(
    lines=st.lists(
        st.one_of(records.map(lambda r: json.dumps(r).encode()), st.binary(max_size=12)), max_size=8
    ),
    scheme=st.sampled_from([None, "stars", "sentiment", "binary"]),
    verified_only=st.booleans(),
    first_line=st.integers(1, 2**40),
)
def test_every_line_is_a_row_or_a_reject(
    lines: list[bytes], scheme: str | None, verified_only: bool, first_line: int
) -> None:
    lines = [x.replace(b"\n", b" ") for x in lines]
    chunk = chunk_of(*lines, first_line=first_line, newline=bool(lines))
    rows, rejected = keep(chunk, make_recipe(scheme, verified_only=verified_only))
    numbers = rows["line"].to_pylist() + [r.line for r in rejected]
    assert sorted(numbers) == list(range(first_line, first_line + len(lines)))
    for reject in rejected:
        assert isinstance(reject.reason, Reason)
        assert reject.raw == lines[reject.line - first_line]
        assert chunk.raw[reject.byte_offset :].startswith(reject.raw + b"\n")
    texts = rows["text"].to_pylist()
    assert all(texts)
    if scheme is not None:
        assert all(label >= 0 for label in rows["label"].to_pylist())
    reject_table("/in/a", 0, rejected)
