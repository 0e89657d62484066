"""Fields in nested objects, named by path, in JSON, Python literals and Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.detect import Needs, detect_file
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import ParseOptions
from pipeline.ingest.parse.parse import parse_chunk
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.overrides import parse_item, split_items
from pipeline.storage.location import locate
from tests.detection import detect_format

RECORD = {
    "id": 1,
    "review": {"title": "Fine", "text": "good", "meta": {"stars": 4, "at": 1404345600}},
    "who": {"id": "A1", "verified": True},
    "item": {"id": "B1"},
}
SETTINGS = {
    "text": ("review.title", "review.text"),
    "stars": "review.meta.stars",
    "timestamp": "review.meta.at",
    "asin": "item.id",
    "user_id": "who.id",
    "verified": "who.verified",
}
ROW = {
    "text": "Fine | good",
    "stars": 4.0,
    "timestamp": "2014-07-03T00:00:00+00:00",
    "asin": "B1",
    "user_id": "A1",
    "verified": True,
}


def write_parquet(file: Path, records: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(records), file)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], object]] = {
    "lines": lambda file, records: file.write_text("\n".join(map(json.dumps, records))),
    "array": lambda file, records: file.write_text(json.dumps(records, indent=1)),
    "python": lambda file, records: file.write_text("\n".join(map(repr, records))),
    "parquet": write_parquet,
}


def read(file: Path, **settings: Any) -> list[dict[str, Any]]:
    fmt = detect_format(locate(file), InputConfig(**settings), need_stars=False)
    assert fmt is not None
    source = Source(0, str(file), file.stat().st_size, fmt)
    rows = []
    for chunk in read_source(source, ReadPlan(1 << 20)):
        table, rejected = parse_chunk(chunk, fmt, ParseOptions(" | "))
        assert rejected == []
        rows += table.to_pylist()
    for row in rows:
        row["timestamp"] = row["timestamp"] and row["timestamp"].isoformat()
    return rows


@pytest.mark.parametrize("syntax", WRITERS)
def test_every_field_can_be_nested(syntax: str, tmp_path: Path) -> None:
    null = {**RECORD, "review": None, "item": None}
    WRITERS[syntax](tmp_path / "a", [RECORD, null, RECORD])
    rows = read(tmp_path / "a", **SETTINGS)
    assert [{name: row[name] for name in ROW} for row in rows] == [
        ROW,
        dict.fromkeys(ROW) | {"user_id": "A1", "verified": True},
        ROW,
    ]


@pytest.mark.parametrize("syntax", ["lines", "array", "python"])
def test_objects_that_are_absent_or_of_another_type(syntax: str, tmp_path: Path) -> None:
    others = [{"id": 2}, {"review": "words"}, {"review": {"text": 5}}, {"review": ["x"]}, {"review": {}}]
    WRITERS[syntax](tmp_path / "a", [RECORD, *others, RECORD])
    rows = read(tmp_path / "a", text=("review.text",))
    assert [row["text"] for row in rows] == ["good", None, None, "5", None, None, "good"]
    # One field as a text and as an object.
    rows = read(tmp_path / "a", text=("review", "review.text"))
    assert [row["text"] for row in rows] == ["good", None, "words", "5", None, None, "good"]


def test_a_name_with_dots_is_preferred(tmp_path: Path) -> None:
    flat = {"review.text": "flat", "review": {"text": "nested"}}
    for syntax in ("lines", "array", "python"):
        WRITERS[syntax](tmp_path / "a", [flat, {"review.text": "x"}])
        assert [r["text"] for r in read(tmp_path / "a", text=("review.text",))] == ["flat", "x"]
    WRITERS["parquet"](tmp_path / "a", [flat, flat])
    assert [r["text"] for r in read(tmp_path / "a", text=("review.text",))] == ["flat", "flat"]
    (tmp_path / "a").write_text("id,review.text\n1,flat\n")
    assert [r["text"] for r in read(tmp_path / "a", text=("review.text",))] == ["flat"]


@pytest.mark.parametrize("syntax", WRITERS)
def test_messages_list_nested_fields(syntax: str, tmp_path: Path) -> None:
    WRITERS[syntax](tmp_path / "a", [RECORD])
    fields = "id, item.id, review.text, review.title, who.id, who.verified, review.meta.at, review.meta.stars"
    with pytest.raises(InputError, match=f"unknown review format; fields: {fields};"):
        read(tmp_path / "a")
    for name in ("review", "review.body", "text"):
        with pytest.raises(
            InputError, match=f"input.text={name}, but no line has this field; fields: {fields}"
        ):
            read(tmp_path / "a", text=(name,))


def test_paths_on_the_command_line() -> None:
    items = split_items("input.text=review.title,review.text,input.stars=review.stars")
    assert [parse_item(item) for item in items] == [
        ("input.text", "review.title,review.text"),
        ("input.stars", "review.stars"),
    ]


def test_unused_objects_are_reported_once(tmp_path: Path) -> None:
    record = {"review": {"text": "x", "lang": "en"}, "stars": 5, "style": {"a:": "1", "b:": "2"}, "z.z": 1}
    (tmp_path / "a").write_text(json.dumps(record))
    found = detect_file(locate(tmp_path / "a"), InputConfig(text=("review.text",)), Needs())
    assert found is not None
    assert str(found.columns).endswith("not used: review.lang, style, z")
    (tmp_path / "a").write_text("stars,reviews.text,reviews.date,a.b\n1,x,y,z\n5,x,y,z\n")
    found = detect_file(locate(tmp_path / "a"), InputConfig(text=("reviews.text",)), Needs())
    assert found is not None
    assert str(found.columns).endswith("not used: a.b, reviews.date")
