"""Dumps in Parquet: typed columns of every kind, chunk by chunk."""

from __future__ import annotations

import decimal
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.chunks import Chunk
from pipeline.ingest.detect import detect_format
from pipeline.ingest.formats import Format, ParseOptions
from pipeline.ingest.labels import label_scheme
from pipeline.ingest.parquet import read_parquet_chunks
from pipeline.ingest.parse import parse_chunk
from pipeline.ingest.rejects import reject_table
from pipeline.ingest.rows import Recipe, keep_lines
from pipeline.storage import Location, locate

DAY = datetime(2015, 8, 31, 12, tzinfo=timezone.utc)


def write(folder: Path, columns: dict[str, Any], **options: Any) -> Location:
    pq.write_table(pa.table(columns), folder / "a.parquet", **options)
    return locate(folder / "a.parquet")


def read(file: Location, config: InputConfig, chunk_bytes: int = 1 << 20) -> list[dict[str, Any]]:
    form = detect_format(file, config)
    assert form is not None
    rows: list[dict[str, Any]] = []
    for chunk in read_parquet_chunks(file, 0, form, chunk_bytes):
        table, rejected = parse_chunk(chunk, form, ParseOptions(" | "))
        assert rejected == []
        rows += table.to_pylist()
    return rows


def test_the_2023_format_in_parquet(tmp_path: Path) -> None:
    columns = {
        "rating": [5.0, 1.0],
        "title": ["Fine", None],
        "text": ["good", "bad"],
        "images": [[{"url": "x"}], []],
        "asin": ["B1", "B2"],
        "user_id": ["A1", None],
        "timestamp": [1441022400000, 1441022400001],
        "verified_purchase": [True, False],
    }
    first, second = read(write(tmp_path, columns), InputConfig())
    assert (first["text"], first["stars"], first["asin"], first["verified"]) == (
        "Fine | good",
        5.0,
        "B1",
        True,
    )
    assert first["timestamp"].isoformat() == "2015-08-31T12:00:00+00:00"
    assert (second["text"], second["user_id"], second["line"]) == ("bad", None, 2)


@pytest.mark.parametrize(
    "times",
    [
        pa.array([DAY], pa.timestamp("us", tz="UTC")),
        pa.array([DAY.replace(tzinfo=None)], pa.timestamp("ns")),
        pa.array([int(DAY.timestamp())], pa.int64()),
        pa.array([DAY.timestamp() * 1000], pa.float64()),
        pa.array(["2015-08-31 12:00:00"]),
        pa.array([date(2015, 8, 31)], pa.date32()),
    ],
    ids=lambda a: str(a.type),
)
def test_times_of_every_kind(tmp_path: Path, times: pa.Array) -> None:
    config = InputConfig(text=("body",), stars="rank", timestamp="when")
    (row,) = read(write(tmp_path, {"body": ["x"], "rank": [3], "when": times}), config)
    hour = 0 if pa.types.is_date(times.type) else 12
    assert row["timestamp"] == DAY.replace(hour=hour)


@pytest.mark.parametrize(
    "stars",
    [
        pa.array([4], pa.int8()),
        pa.array([4.0], pa.float64()),
        pa.array(["4.0"]),
        pa.array(["4"]).dictionary_encode(),
        pa.array([decimal.Decimal("4.00")]),
        pa.array(["4"], pa.large_string()),
    ],
    ids=lambda a: str(a.type),
)
def test_stars_of_every_kind(tmp_path: Path, stars: pa.Array) -> None:
    config = InputConfig(text=("body",), stars="rank")
    body = pa.array([b"x"], pa.binary())
    (row,) = read(write(tmp_path, {"body": body, "rank": stars}), config)
    assert (row["stars"], row["text"]) == (4.0, "x")


def test_rows_come_in_chunks_of_about_the_size_asked_for(tmp_path: Path) -> None:
    columns = {"body": [f"text number {i}" for i in range(5000)], "rank": [i % 5 + 1 for i in range(5000)]}
    file = write(tmp_path, columns | {"ballast": ["y" * 1000] * 5000}, row_group_size=700)
    config = InputConfig(text=("body",), stars="rank")
    form = detect_format(file, config)
    assert isinstance(form, Format)
    chunks = list(read_parquet_chunks(file, 4, form, 16 << 10))
    assert [c.chunk for c in chunks] == list(range(len(chunks)))
    assert [c.last for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert 4 < len(chunks) < 50
    assert sum(c.lines for c in chunks) == 5000
    assert [r["line"] for r in read(file, config, 16 << 10)] == list(range(1, 5001))
    assert chunks == list(read_parquet_chunks(file, 4, form, 16 << 10))
    few = list(read_parquet_chunks(file, 4, form, 16 << 10, max_lines=1001))
    assert sum(c.lines for c in few) == 1001
    assert few[-1].last


def test_rejected_rows_have_no_place_and_are_kept_as_json(tmp_path: Path) -> None:
    columns = {"body": ["fine", " ", None], "rank": [9, 1, 2]}
    file = write(tmp_path, columns)
    form = detect_format(file, InputConfig(text=("body",), stars="rank"))
    assert form is not None
    (chunk,) = read_parquet_chunks(file, 0, form, 1 << 20)
    kept = keep_lines(chunk, form, Recipe(" ", 32, False, label_scheme("stars")))
    assert kept.rows.num_rows == 0
    table = reject_table(chunk.source, chunk.byte_offset, kept.rejected)
    assert table["byte_offset"].to_pylist() == [None] * 3
    assert table["reason"].to_pylist() == ["stars_out_of_range", "empty_text", "missing_text"]
    assert table["raw"].to_pylist()[0] == b'{"body": "fine", "rank": 9}'


def test_text_that_is_no_utf8_is_rejected(tmp_path: Path) -> None:
    file = write(tmp_path, {"body": pa.array([b"ok", b"\xff"], pa.binary()), "rank": [1, 2]})
    form = detect_format(file, InputConfig(text=("body",), stars="rank"))
    assert form is not None
    (chunk,) = read_parquet_chunks(file, 0, form, 1 << 20)
    rows, rejected = parse_chunk(chunk, form, ParseOptions())
    assert rows["line"].to_pylist() == [1]
    assert [(r.line, r.reason) for r in rejected] == [(2, "bad_encoding")]


def test_an_empty_file_and_one_of_other_columns(tmp_path: Path) -> None:
    file = write(tmp_path, {"body": pa.array([], pa.string()), "rank": pa.array([], pa.int8())})
    form = detect_format(file, InputConfig(text=("body",), stars="rank"))
    assert form is not None
    (chunk,) = read_parquet_chunks(file, 0, form, 1 << 20)
    assert (chunk.lines, chunk.last, chunk.broken) == (0, True, None)
    assert parse_chunk(chunk, form, ParseOptions())[0].num_rows == 0
    with pytest.raises(InputError, match="no known review format; its fields are body, rank"):
        detect_format(file, InputConfig())


def test_damage_within_ends_in_a_broken_chunk(tmp_path: Path) -> None:
    columns = {"body": [f"text {i * i}" for i in range(4000)], "rank": [1] * 4000}
    file = write(tmp_path, columns, row_group_size=1000, compression="zstd")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(2).column(0)
    start = group.data_page_offset
    data[start : start + 400] = b"\xff" * 400
    (tmp_path / "a.parquet").write_bytes(bytes(data))
    form = detect_format(file, InputConfig(text=("body",), stars="rank"))
    assert form is not None
    chunks: list[Chunk] = list(read_parquet_chunks(file, 0, form, 4 << 10))
    assert chunks[-1].last
    assert "Parquet data are damaged" in (chunks[-1].broken or "")
    assert 0 < sum(c.lines for c in chunks) <= 2000
