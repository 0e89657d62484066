"""Parquet dumps: columns of every type, chunk sizes, and damaged files."""

from __future__ import annotations

import decimal
import gzip
import json
import random
import uuid
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.parquet import read_parquet_chunks
from pipeline.ingest.parse.parse import RecordLocator, parse_chunk
from pipeline.ingest.parse.rejects import RejectedLine, reject_table
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.compression import WatchedFile
from pipeline.storage.location import Location, locate
from tests.detection import detect_format

DAY = datetime(2015, 8, 31, 12, tzinfo=timezone.utc)


def write(folder: Path, columns: dict[str, Any], **options: Any) -> Location:
    pq.write_table(pa.table(columns), folder / "a.parquet", **options)
    return locate(folder / "a.parquet")


def read(file: Location, config: InputConfig, chunk_bytes: int = 1 << 20) -> list[dict[str, Any]]:
    fmt = detect_format(file, config)
    assert fmt is not None
    rows: list[dict[str, Any]] = []
    for chunk in read_parquet_chunks(file, 0, fmt, chunk_bytes):
        table, rejected = parse_chunk(chunk, fmt, ParseOptions(" | "))
        assert rejected == []
        rows += table.to_pylist()
    return rows


def test_2023_format_is_detected_in_parquet(tmp_path: Path) -> None:
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
def test_times_of_every_type_are_converted(tmp_path: Path, times: pa.Array) -> None:
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
def test_stars_of_every_type_are_converted(tmp_path: Path, stars: pa.Array) -> None:
    config = InputConfig(text=("body",), stars="rank")
    body = pa.array([b"x"], pa.binary())
    (row,) = read(write(tmp_path, {"body": body, "rank": stars}), config)
    assert (row["stars"], row["text"]) == (4.0, "x")


def test_chunks_have_about_the_requested_size(tmp_path: Path) -> None:
    columns = {"body": [f"text number {i}" for i in range(5000)], "rank": [i % 5 + 1 for i in range(5000)]}
    file = write(tmp_path, columns | {"ballast": ["y" * 1000] * 5000}, row_group_size=700)
    config = InputConfig(text=("body",), stars="rank")
    fmt = detect_format(file, config)
    assert isinstance(fmt, Format)
    chunks = list(read_parquet_chunks(file, 4, fmt, 16 << 10))
    assert [c.header.chunk for c in chunks] == list(range(len(chunks)))
    assert [c.header.last for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert 4 < len(chunks) < 50
    assert sum(c.header.lines for c in chunks) == 5000
    assert [r["line"] for r in read(file, config, 16 << 10)] == list(range(1, 5001))
    assert chunks == list(read_parquet_chunks(file, 4, fmt, 16 << 10))
    few = list(read_parquet_chunks(file, 4, fmt, 16 << 10, max_lines=1001))
    assert sum(c.header.lines for c in few) == 1001
    assert few[-1].header.last


def test_chunk_size_counts_bytes_in_memory_of_used_columns(tmp_path: Path) -> None:
    # A repeated text that the file stores once; and an unused column of large binary values.
    texts = {"body": ["x" * 1000] * 3000, "rank": [1] * 3000}
    pictures = {"body": ["x"] * 3000, "rank": [1] * 3000, "picture": [random.randbytes(2000)] * 3000}
    sizes = []
    for columns, options in ((texts, {}), (pictures, {"compression": "none", "use_dictionary": False})):
        file = write(tmp_path, columns, **options)
        fmt = detect_format(file, InputConfig(text=("body",), stars="rank"))
        assert fmt is not None
        sizes.append([c.header.lines for c in read_parquet_chunks(file, 0, fmt, 64 << 10)])
    assert max(sizes[0]) <= 66
    assert sizes[1] == [3000]


def test_rejected_rows_have_no_offset_and_are_kept_as_json(tmp_path: Path) -> None:
    columns = {"body": ["fine", " ", None], "rank": [9, 1, 2]}
    file = write(tmp_path, columns)
    fmt = detect_format(file, InputConfig(text=("body",), stars="rank"))
    assert fmt is not None
    (chunk,) = read_parquet_chunks(file, 0, fmt, 1 << 20)
    kept = keep_lines(chunk, fmt, Recipe(" ", 32, verified_only=False, scheme=label_scheme("stars")))
    assert kept.rows.num_rows == 0
    table = reject_table(chunk.header.source, chunk.byte_offset, kept.rejected)
    assert table["byte_offset"].to_pylist() == [None] * 3
    assert table["reason"].to_pylist() == ["stars_out_of_range", "empty_text", "missing_text"]
    assert table["raw"].to_pylist()[0] == b'{"body": "fine", "rank": 9}'


def test_invalid_utf8_is_rejected(tmp_path: Path) -> None:
    file = write(tmp_path, {"body": pa.array([b"ok", b"\xff"], pa.binary()), "rank": [1, 2]})
    fmt = detect_format(file, InputConfig(text=("body",), stars="rank"))
    assert fmt is not None
    (chunk,) = read_parquet_chunks(file, 0, fmt, 1 << 20)
    rows, rejected = parse_chunk(chunk, fmt, ParseOptions())
    assert rows["line"].to_pylist() == [1]
    assert [(r.line, r.reason) for r in rejected] == [(2, "bad_encoding")]


def test_empty_file_is_one_empty_chunk_and_unknown_columns_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, {"body": pa.array([], pa.string()), "rank": pa.array([], pa.int8())})
    fmt = detect_format(file, InputConfig(text=("body",), stars="rank"))
    assert fmt is not None
    (chunk,) = read_parquet_chunks(file, 0, fmt, 1 << 20)
    assert (chunk.header.lines, chunk.header.last, chunk.header.broken) == (0, True, None)
    assert parse_chunk(chunk, fmt, ParseOptions())[0].num_rows == 0
    with pytest.raises(InputError, match="unknown review format; fields: body, rank"):
        detect_format(file, InputConfig())


def test_damaged_row_group_ends_the_file_and_breaks_the_last_chunk(tmp_path: Path) -> None:
    columns = {"body": [f"text {i * i}" for i in range(4000)], "rank": [1] * 4000}
    file = write(tmp_path, columns, row_group_size=1000, compression="zstd")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(2).column(0)
    start = group.data_page_offset
    data[start : start + 400] = b"\xff" * 400
    (tmp_path / "a.parquet").write_bytes(bytes(data))
    fmt = detect_format(file, InputConfig(text=("body",), stars="rank"))
    assert fmt is not None
    chunks: list[Chunk] = list(read_parquet_chunks(file, 0, fmt, 4 << 10))
    assert chunks[-1].header.last
    assert "Parquet data damaged" in (chunks[-1].header.broken or "")
    assert 0 < sum(c.header.lines for c in chunks) <= 2000


BODY = InputConfig(text=("body",), stars="rank", asin="id", timestamp="when")
BAD = pa.array([b"caf\xe9", b"4"] * 150, pa.binary())


def parsed(file: Location, config: InputConfig = BODY) -> tuple[list[dict[str, Any]], list[RejectedLine]]:
    fmt = detect_format(file, config)
    assert fmt is not None
    (chunk,) = read_parquet_chunks(file, 0, fmt, 1 << 20)
    table, rejected = parse_chunk(chunk, fmt, ParseOptions())
    numbers = sorted([*table["line"].to_pylist(), *(r.line for r in rejected)])
    assert numbers == list(range(1, chunk.header.lines + 1))
    return table.to_pylist(), rejected


def columns(rows: int, **replaced: Any) -> dict[str, Any]:
    plain = {"body": ["x"] * rows, "rank": [3] * rows, "id": ["B1"] * rows, "when": [1441022400] * rows}
    return plain | replaced


@pytest.mark.parametrize("field", ["body", "rank", "id", "when"])
@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_invalid_utf8_in_a_string_column_is_rejected(tmp_path: Path, field: str, kind: pa.DataType) -> None:
    if kind == pa.string():
        bad = BAD.view(pa.string())
    elif kind == pa.large_string():
        bad = BAD.cast(pa.large_binary()).view(pa.large_string())
    elif kind == pa.string_view():
        bad = BAD.view(pa.string()).cast(pa.string_view())
    else:
        bad = BAD.view(pa.string()).dictionary_encode()
    rows, rejected = parsed(write(tmp_path, columns(300, **{field: bad})))
    assert [r["line"] for r in rows] == list(range(2, 301, 2))
    assert {(r.reason, r.detail) for r in rejected} == {("bad_encoding", f"{field} is not valid UTF-8")}
    assert [r.line for r in rejected] == list(range(1, 300, 2))
    assert json.loads(rejected[0].raw)[field] == "caf\ufffd"


def test_unused_columns_can_contain_anything(tmp_path: Path) -> None:
    unused = {
        "bad": BAD.view(pa.string()),
        "far": pa.array([2**31 - 1] * 300, pa.int32()).view(pa.date32()),
        "zone": pa.array([0] * 300, pa.int64()).view(pa.timestamp("us", tz="Foo/Bar")),
        "nested": pa.array([[b"\xff"]] * 300, pa.list_(pa.binary())),
    }
    rows, rejected = parsed(write(tmp_path, columns(300, **unused)))
    assert (len(rows), rejected) == (300, [])


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_bytes_are_read_as_text_in_every_column(tmp_path: Path, kind: pa.DataType) -> None:
    stored = {n: pa.array([v], pa.binary()).cast(kind) for n, v in (("rank", b"5"), ("id", b"B1"))}
    stored |= {"body": pa.array(["é".encode()], kind), "when": pa.array([b"2015-08-31"], kind)}
    (row,), _ = parsed(write(tmp_path, stored))
    assert (row["text"], row["stars"], row["asin"]) == ("é", 5.0, "B1")
    assert row["timestamp"].date() == date(2015, 8, 31)


def test_word_labels_may_be_stored_as_bytes(tmp_path: Path) -> None:
    file = write(tmp_path, columns(2, rank=pa.array([b"neg", b"pos"], pa.binary())))
    labels = LabelsConfig(scheme="words", words=("neg", "pos"))
    fmt = detect_format(file, BODY, labels=labels)
    assert fmt is not None
    (chunk,) = read_parquet_chunks(file, 0, fmt, 1 << 20)
    scheme = label_scheme("words", ("neg", "pos"))
    kept = keep_lines(chunk, fmt, Recipe(" ", 32, verified_only=False, scheme=scheme, word_labels=True))
    assert kept.rows["label"].to_pylist() == [0, 1]
    with pytest.raises(InputError, match="rank contains words, not star ratings: neg, pos"):
        detect_format(file, BODY)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([7], pa.int64()), "7"),
        (pa.array([7.0]), "7"),
        (pa.array([decimal.Decimal(12345678901234567890)], pa.decimal128(20, 0)), "12345678901234567890"),
        (pa.array([uuid.UUID(int=5).bytes], pa.uuid()), "00000000-0000-0000-0000-000000000005"),
        (pa.array([b"B12"], pa.binary(3)), "B12"),
        (pa.array([True]), "true"),
        (pa.array([date(2015, 8, 31)]), "2015-08-31"),
        (pa.array([["B1"]]), None),
        (pa.nulls(1), None),
    ],
    ids=lambda a: str(getattr(a, "type", "")),
)
def test_ids_of_every_type_are_converted(tmp_path: Path, ids: pa.Array, expected: str | None) -> None:
    (row,), _ = parsed(write(tmp_path, columns(1, id=ids)))
    assert row["asin"] == expected


@pytest.mark.parametrize(
    "times",
    [
        pa.array([5], pa.int32()).view(pa.time32("ms")),
        pa.array([5], pa.int64()).view(pa.time64("us")),
        pa.array([5], pa.int64()).view(pa.duration("us")),
        pa.array([2**31 - 1], pa.int32()).view(pa.date32()),
        pa.array([2**62], pa.int64()).view(pa.timestamp("us", tz="Foo/Bar")),
    ],
    ids=lambda a: str(a.type),
)
@pytest.mark.parametrize("field", ["body", "rank", "id", "when"])
def test_unusual_times_in_any_column_do_not_break_parsing(
    tmp_path: Path, times: pa.Array, field: str
) -> None:
    file = write(tmp_path, columns(1, **{field: times}))
    fmt = detect_format(file, BODY, need_stars=False)
    assert fmt is not None
    (chunk,) = read_parquet_chunks(file, 0, fmt, 1 << 20)
    kept = keep_lines(
        chunk, fmt, Recipe(" ", 32, verified_only=False, scheme=label_scheme("stars"), needs_timestamp=True)
    )
    is_null = pa.types.is_duration(times.type)
    reasons = {"when": "missing_timestamp", "rank": "missing_stars" if is_null else "stars_out_of_range"}
    if is_null:
        reasons["body"] = "missing_text"
    assert [r.reason for r in kept.rejected] == [reason for f, reason in reasons.items() if f == field]
    assert field in json.loads(RecordLocator(chunk, fmt, ParseOptions()).locate(1)[1])


def test_times_in_an_unknown_zone_are_read_as_utc(tmp_path: Path) -> None:
    times = pa.array([DAY.replace(tzinfo=None)], pa.timestamp("us")).view(pa.timestamp("us", tz="Foo/Bar"))
    (row,), _ = parsed(write(tmp_path, columns(1, when=times)))
    assert row["timestamp"] == DAY


def test_duplicate_names_of_used_columns_are_refused(tmp_path: Path) -> None:
    names = ["body", "rank", "body", "other", "other"]
    table = pa.table([pa.array(["x"]), pa.array([3]), pa.array(["y"]), pa.array([1]), pa.array([2])], names)
    pq.write_table(table, tmp_path / "a")
    file = locate(tmp_path / "a")
    with pytest.raises(InputError, match="two columns are named 'body'; rewrite the file with unique"):
        detect_format(file, InputConfig(text=("body",), stars="rank"))
    pq.write_table(table.select([1, 2, 3, 4]), tmp_path / "a")
    assert [r["text"] for r in read(file, InputConfig(text=("body",), stars="rank"))] == ["y"]


def test_wrong_number_of_rows_in_the_footer_is_reported(tmp_path: Path) -> None:
    file = write(tmp_path, columns(300))
    fmt = detect_format(file, BODY)
    assert fmt is not None
    data = (tmp_path / "a.parquet").read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for stated in (301, 299):
        # Thrift encodes a number n as the varint of 2n: 7 bits per byte.
        varints = [bytes([2 * n & 127 | 128, 2 * n >> 7]) for n in (300, stated)]
        changed = data[:start] + data[start:].replace(*varints, 1)
        (tmp_path / "a.parquet").write_bytes(changed)
        assert pq.read_metadata(tmp_path / "a.parquet").num_rows == stated
        (chunk,) = read_parquet_chunks(file, 0, fmt, 1 << 20)
        assert (chunk.header.lines, chunk.header.last) == (300, True)
        assert chunk.header.broken == f"Parquet data damaged after 300 rows: the footer states {stated} rows"


def test_failed_read_is_not_reported_as_damage_and_truncates_no_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, columns(3000, body=[str(i) for i in range(3000)]), row_group_size=500)
    fmt = detect_format(file, BODY)
    assert fmt is not None
    expected = list(read_parquet_chunks(file, 0, fmt, 16 << 10))
    reads_left = 0

    class Failing(WatchedFile):
        def read(self, size: int = -1) -> bytes:
            nonlocal reads_left
            reads_left -= 1
            if reads_left < 0:
                self.error = OSError("the network is down")
                raise self.error
            return super().read(size)

    monkeypatch.setattr("pipeline.ingest.parse.parquet.WatchedFile", Failing)
    messages = set()
    for reads in range(1000):
        reads_left, chunks = reads, []
        try:
            for chunk in read_parquet_chunks(file, 0, fmt, 16 << 10):
                chunks.append(chunk)
        except InputError as error:
            messages.add(str(error))
            assert chunks == expected[: len(chunks)]
        else:
            break
    assert chunks == expected
    assert messages == {f"{file.uri}: cannot be read: the network is down"}


def test_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    file = write(tmp_path, columns(300))
    fmt = detect_format(file, BODY)
    assert fmt is not None
    whole = (tmp_path / "a.parquet").read_bytes()
    advice = "replace or exclude the file"
    for content, words in (
        (whole[:-20], advice),
        (whole[:-12] + b"\xff" * 4 + whole[-8:], advice),
        (whole[:8], advice),
        (gzip.compress(whole), "a compressed Parquet file; decompress it"),
    ):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(InputError, match=words) as detection:
            detect_format(file, BODY)
        assert str(detection.value).startswith(f"{file.uri}: damaged Parquet file: ") == (words == advice)
        with pytest.raises(InputError) as reading:
            list(read_parquet_chunks(file, 0, fmt, 1 << 20))
        assert "damaged Parquet file: " in str(reading.value)
        assert str(reading.value) == str(detection.value) or words != advice
        assert str(detection.value).isprintable()
