"""Parsing of JSON lines: typed columns, irregular values and broken lines; every line is accounted for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.parse.columns import ROW_SCHEMA
from pipeline.ingest.parse.formats import FORMATS, Dialect, ParseOptions
from pipeline.ingest.parse.parse import parse_chunk
from pipeline.ingest.parse.records import decode_json, decode_python
from pipeline.ingest.read.chunks import Chunk, ChunkHeader
from pipeline.storage.location import locate
from tests.detection import detect_format

AMAZON = FORMATS[0]
REVIEW = {
    "overall": 4.0,
    "verified": True,
    "reviewTime": "09 4, 2015",
    "reviewerID": "A1",
    "asin": "0001713353",
    "style": {"Size:": " Big"},
    "reviewText": "Great “product”",
    "summary": "Five Stars",
    "unixReviewTime": 1441324800,
    "vote": "1,234",
}


def parse(*lines: bytes | dict[str, Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    raw = b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines)
    chunk = Chunk(
        ChunkHeader(0, "/in/a", 0, 11, len(lines), last=True, broken=None, bytes_read=0), 0, raw + b"\n"
    )
    rows, rejected = parse_chunk(chunk, AMAZON, ParseOptions(" | "))
    assert rows.schema == ROW_SCHEMA
    assert sorted([*rows["line"].to_pylist(), *(r.line for r in rejected)]) == list(
        range(11, 11 + len(lines))
    )
    return rows.to_pylist(), rejected


def test_2018_review_has_typed_fields() -> None:
    (row,), rejected = parse(REVIEW)
    assert rejected == []
    assert row["text"] == "Five Stars | Great “product”"
    assert (row["asin"], row["user_id"], row["stars"], row["verified"]) == ("0001713353", "A1", 4.0, True)
    assert row["timestamp"].isoformat() == "2015-09-04T00:00:00+00:00"


def test_missing_keys_are_null_and_missing_text_parts_are_omitted() -> None:
    rows, _ = parse(
        {"summary": "S"}, {"reviewText": "T"}, {"overall": 3}, {"summary": None, "reviewText": "U"}
    )
    assert [r["text"] for r in rows] == ["S", "T", None, "U"]
    assert [r["stars"] for r in rows] == [None, None, 3.0, None]
    assert rows[0]["asin"] is rows[0]["timestamp"] is rows[0]["verified"] is None


def test_strings_are_converted_to_the_expected_types() -> None:
    (row,), rejected = parse({k: str(v) if not isinstance(v, dict) else v for k, v in REVIEW.items()})
    assert rejected == []
    assert (row["stars"], row["verified"], row["asin"]) == (4.0, True, "0001713353")
    assert row["timestamp"].isoformat() == "2015-09-04T00:00:00+00:00"


def test_values_of_unexpected_types_are_converted() -> None:
    odd = REVIEW | {
        "asin": 17,
        "overall": [1],
        "reviewText": 12.5,
        "unixReviewTime": 10**30,
        "verified": "maybe",
    }
    (row,), rejected = parse(odd)
    assert rejected == []
    assert (row["asin"], row["text"], row["stars"]) == ("17", "Five Stars | 12.5", None)
    assert row["timestamp"] is None
    assert row["verified"] is None
    (row,), _ = parse(REVIEW | {"overall": "good"})
    assert row["stars"] != row["stars"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"overall": 5.0, "revie', "bad_json"),
        (b"{'overall': 5.0}", "bad_json"),
        (b"oops", "bad_json"),
        (b'{"overall": nan}', "bad_json"),
        (b'{"overall": NaNNaN}', "bad_json"),
        (b'{"overall": 5, "summary": -NaN}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"reviewText": "a\x00b"}', "bad_json"),
        (b'{"reviewText": "\\ud800"}', "bad_json"),
        (b"[1, 2]", "not_an_object"),
        (b"17", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"reviewText": "\xff"}', "bad_encoding"),
        (b"", "empty_line"),
        (b"   ", "empty_line"),
    ],
)
def test_bad_line_is_rejected_and_other_lines_are_kept(line: bytes, reason: str) -> None:
    rows, rejected = parse(REVIEW, line, REVIEW)
    assert [r["line"] for r in rows] == [11, 13]
    assert [(r.line, r.reason, r.raw) for r in rejected] == [(12, reason, line)]
    assert rejected[0].byte_offset == len(json.dumps(REVIEW)) + 1


NUMBERS = ["NaN", "Infinity", "-Infinity"]


@pytest.mark.parametrize("number", NUMBERS)
def test_nan_and_infinity_are_null(number: str) -> None:
    lines = [
        b'{"overall": 4.0, "reviewText": "a", "vote": %s}',
        b'{"overall": %s, "reviewText": "b"}',
        b'{"overall": 4, "reviewText": %s, "summary": "c", "unixReviewTime":%s,"style": {"x": [%s, 1]}}',
        b'{"overall": "4", "reviewText": "d \\" NaN, Infinity", "summary": "NaN", "asin": %s}',
    ]
    filled = [line.replace(b"%s", number.encode()) for line in lines]
    for line in filled:
        rows, rejected = parse(line)
        assert (len(rows), rejected) == (1, [])
    rows, rejected = parse(*filled)
    assert rejected == []
    assert [r["text"] for r in rows] == ["a", "b", "c", 'NaN | d " NaN, Infinity']
    assert [r["stars"] for r in rows] == [4.0, None, 4.0, 4.0]
    assert (rows[2]["timestamp"], rows[3]["asin"]) == (None, None)
    # With a broken line in the same chunk, and with a value of an unexpected type.
    rows, rejected = parse(filled[0], b'{"reviewText": "NaN', *filled, b'{"overall": [1], "vote": NaN}')
    assert [r["text"] for r in rows] == ["a", "a", "b", "c", 'NaN | d " NaN, Infinity', None]
    assert [(r.line, r.reason, r.raw) for r in rejected] == [(12, "bad_json", b'{"reviewText": "NaN')]


values = st.recursive(
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1.5, None, True])
    | st.text(st.sampled_from('NaInfity-"\\ {}\n'), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(values, min_size=1, max_size=4))
def test_lines_that_python_writes_are_decoded(written: list[Any]) -> None:
    for value in written:
        line = json.dumps(value, ensure_ascii=False)
        assert decode_json(line.encode()) == json.loads(line, parse_constant=lambda _: None)
    rows, rejected = parse(*(json.dumps({"summary": "x", "v": v}).encode() for v in written))
    assert ([r["text"] for r in rows], rejected) == (["x"] * len(written), [])


@given(st.data())
def test_every_line_of_a_damaged_chunk_is_accounted_for(data: st.DataObject) -> None:
    """Chunks of up to 8 lines, each with some bytes replaced, removed or added."""
    whole = json.dumps(REVIEW).encode()
    lines = []
    for _ in range(data.draw(st.integers(1, 8))):
        line = bytearray(whole)
        for _ in range(data.draw(st.integers(0, 4))):
            at = data.draw(st.integers(0, len(line) - 1))
            line[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        lines.append(bytes(line).replace(b"\n", b" "))
    parse(*lines)


def write(folder: Path, *lines: dict[str, Any]) -> Any:
    (folder / "a.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return locate(folder / "a.json")


def test_detection_takes_columns_from_the_settings(tmp_path: Path) -> None:
    file = write(tmp_path, {"body": "x", "title": "y", "rank": 3})
    fmt = detect_format(file, InputConfig(text=("title", "body"), stars="rank"))
    assert fmt is not None
    assert (fmt.text, fmt.stars) == (("title", "body"), "rank")
    file = write(tmp_path, REVIEW)
    fmt = detect_format(file, InputConfig(text="reviewText"))  # type: ignore[arg-type]
    assert fmt is not None
    assert (fmt.text, fmt.stars) == (("reviewText",), "overall")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "unknown review format; fields: body, rank"),
        ({"text": ("body",), "stars": "star"}, "input.stars=star, but no line has this field.*body, rank"),
        ({"text": ("bdy",), "stars": "rank"}, "input.text=bdy, but no line has this field.*body, rank"),
    ],
)
def test_detection_error_lists_the_fields(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        detect_format(write(tmp_path, {"body": "x", "rank": 3}), InputConfig(**config))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PAR1....", "damaged Parquet file"),
        (b"just words\nin lines\n", "neither JSON lines, nor CSV with a header, nor Parquet.*'just words'"),
        (b'[{"overall": 5,\n "reviewText": x}]\n', "starts like a JSON array, but its first elements"),
        (b'{\n "overall": 5,\n "reviewText": x\n}\n', "starts like a JSON object, but no object"),
        (b"PK\x03\x04....", "a zip archive; extract it"),
        (b"\xfd7zXZ\x00....", "xz-compressed; decompress it"),
    ],
)
def test_unsupported_file_is_refused_with_advice(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=words):
        detect_format(locate(tmp_path / "a"), InputConfig())


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\x1f\x8b\x08\xff\xff\xff\xff\xff\xff\xff"]
)
def test_file_without_text_has_no_format(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert detect_format(locate(tmp_path / "a"), InputConfig()) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"overall": [1], "reviewText": ', "bad_json"),
        (b'{"overall": [1], "reviewText": "\xff"}', "bad_encoding"),
        (b'{"overall": ' + b"[" * 100_000, "bad_json"),
        (b'{"overall": 1e400}', "bad_json"),
        (b'{"asin": ' + b"1" * 5000 + b"}", "bad_json"),
    ],
)
def test_line_damaged_after_a_value_of_an_unexpected_type_is_rejected(line: bytes, reason: str) -> None:
    _, rejected = parse(REVIEW, line)
    assert [(r.line, r.reason) for r in rejected] == [(12, reason)]


def test_boolean_is_not_a_number() -> None:
    rows, rejected = parse({"summary": "S", "overall": True, "unixReviewTime": True, "asin": False})
    assert rejected == []
    assert rows[0]["stars"] != rows[0]["stars"]
    assert rows[0]["timestamp"] is None
    assert rows[0]["asin"] == "false"


def test_object_that_spans_two_lines_is_two_bad_lines() -> None:
    rows, rejected = parse(REVIEW, b'{"overall":', b"5}", REVIEW)
    assert [r["line"] for r in rows] == [11, 14]
    assert [(r.line, r.reason) for r in rejected] == [(12, "bad_json"), (13, "bad_json")]


def test_empty_lines_with_windows_line_ends_are_rejected() -> None:
    rows, rejected = parse(json.dumps(REVIEW).encode() + b"\r", b"\r", json.dumps(REVIEW).encode() + b"\r")
    assert [r["line"] for r in rows] == [11, 13]
    assert [(r.line, r.reason) for r in rejected] == [(12, "empty_line")]


@pytest.mark.parametrize(
    "config",
    [
        {"text": ("asin", "reviewText")},
        {"text": ("summary", "summary")},
        {"text": ("overall",)},
        {"stars": "verified"},
    ],
)
def test_column_used_twice_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is used twice"):
        detect_format(write(tmp_path, REVIEW), InputConfig(**config))


def test_dump_without_stars_can_only_be_scored(tmp_path: Path) -> None:
    file = write(tmp_path, {"reviewText": "x", "asin": "B1"})
    assert detect_format(file, InputConfig(), need_stars=False) == AMAZON
    with pytest.raises(InputError, match=r"unknown review format.*asin, reviewText.*input\.stars"):
        detect_format(file, InputConfig())
    file = write(tmp_path, {"body": "x"})
    with pytest.raises(InputError, match=r"fields: body; name the columns with --set input\.text=…$"):
        detect_format(file, InputConfig(), need_stars=False)


def test_two_records_in_one_line_do_not_offset_a_blank_line() -> None:
    lines = [json.dumps(REVIEW | {"asin": f"B{i}"}).encode() for i in range(6)]
    for odd in (
        [lines[0], lines[1] + lines[2], b"", *lines[3:]],
        [lines[0], lines[1] + b" " + lines[2] + b"\r", b" ", *lines[3:]],
        [lines[0], lines[1][:40], lines[1][40:] + lines[2], *lines[3:]],
        [b"[" + lines[0], lines[1] + b"]" + lines[2], b"", *lines[3:]],
    ):
        rows, rejected = parse(*odd)
        assert len(rejected) >= 2
        assert {r.reason for r in rejected} <= {"bad_json", "empty_line", "not_an_object"}
        for row in rows:
            assert json.loads(odd[row["line"] - 11])["asin"] == row["asin"]
        for reject in rejected:
            assert reject.raw == odd[reject.line - 11]


def test_windows_line_ends_are_not_part_of_a_record() -> None:
    rows, rejected = parse(*(json.dumps(REVIEW).encode() + b"\r" for _ in range(3)))
    assert (len(rows), rejected) == (3, [])


def test_reject_detail_of_a_python_literal_is_deterministic() -> None:
    fmt = replace(AMAZON, dialect=Dialect("python"))
    raw = b"{'overall': 5.0, 'reviewText': name}\n"
    chunk = Chunk(ChunkHeader(0, "/in/a", 0, 1, 1, last=True, broken=None, bytes_read=0), 0, raw)
    details = {parse_chunk(chunk, fmt, ParseOptions())[1][0].detail for _ in range(3)}
    assert len(details) == 1
    assert "0x" not in details.pop()


def test_python_literals_with_escapes_of_json() -> None:
    """As in dumps whose lines are JSON except for a comma at the end."""
    line = rb'{"reviewText": "\ud83d\ude00 a\/b \\ud83d \\/ \n", "overall": 5,}'
    assert decode_python(line) == {"reviewText": "\U0001f600 a/b \\ud83d \\/ \n", "overall": 5}
