"""Fuzzing of Parquet dumps: no crash, every row is kept or rejected, undamaged row groups are unchanged.

A run reads 60 files with columns of every type in which bytes are changed, deleted, inserted or zeroed, and
60 files with one damaged row group. `make test-slow` adds 10,000 of each.
"""

from __future__ import annotations

import decimal
import io
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.parse.columns import ROW_SCHEMA
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.parquet import read_parquet_chunks
from pipeline.ingest.parse.rejects import Reason, reject_table
from pipeline.storage.location import Location, locate
from tests.detection import detect_format

CASES = [60, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
CONFIG = InputConfig(
    text=("body", "more"), stars="rank", asin="id", user_id="who", timestamp="when", verified="sure"
)
RECIPE = Recipe(" ", 32, verified_only=False, scheme=label_scheme("stars"), unescape_html=True)
TEXTS = ("Good", "é ☃ 🙂", "", "x" * 300, None, "a &amp; b<br />", "5", "2015-08-31", "caf\xe9")
DAY = datetime(2015, 8, 31, 12)

Row = dict[str, Any] | str
"""A kept row, or the reason, detail and content of a rejected one."""

TEXT_KINDS: list[Callable[[pa.Array], pa.Array]] = [
    lambda texts: texts,
    lambda texts: texts.cast(pa.large_string()),
    lambda texts: texts.cast(pa.string_view()),
    lambda texts: texts.cast(pa.binary()),
    lambda texts: texts.dictionary_encode(),
    lambda texts: texts.cast(pa.large_string()).dictionary_encode(),
    lambda texts: pa.array(
        [t and t.encode("latin-1", "replace") for t in texts.to_pylist()], pa.binary()
    ).view(pa.string()),
]
OTHER_KINDS: list[Callable[[list[int]], pa.Array]] = [
    lambda stars: pa.array(stars, pa.int64()),
    lambda stars: pa.array(stars, pa.int8()),
    lambda stars: pa.array([s or None for s in stars], pa.float64()),
    lambda stars: pa.array([s > 2 for s in stars]),
    lambda stars: pa.array([str(s) for s in stars]).dictionary_encode(),
    lambda stars: pa.array([decimal.Decimal(s) for s in stars], pa.decimal128(5, 2)),
    lambda stars: pa.array([decimal.Decimal(s) for s in stars], pa.decimal128(30, 0)),
    lambda stars: pa.array([DAY] * len(stars), pa.timestamp("us", tz="UTC")),
    lambda stars: pa.array([DAY] * len(stars), pa.timestamp("ns")),
    lambda stars: pa.array([DAY.date()] * len(stars)),
    lambda stars: pa.array([DAY.time()] * len(stars)),
    lambda stars: pa.array(stars, pa.duration("us")),
    lambda stars: pa.array([[s, s] for s in stars]),
    lambda stars: pa.array([bytes([s]) * 16 for s in stars], pa.uuid()),
    lambda stars: pa.array([b"abc"] * len(stars), pa.binary(3)),
    lambda stars: pa.nulls(len(stars)),
]
UNUSED_KINDS = [*OTHER_KINDS, lambda stars: pa.array([{"a": str(s)} for s in stars])]
"""A struct column cannot be named, only its fields."""


def make(rng: random.Random, rows: int, group: int) -> bytes:
    """A file with columns of random types, written with random options."""

    def texts() -> pa.Array:
        return rng.choice(TEXT_KINDS)(pa.array([rng.choice(TEXTS) for _ in range(rows)], pa.string()))

    def anything(kinds: list[Callable[[list[int]], pa.Array]]) -> pa.Array:
        stars = [rng.randrange(7) for _ in range(rows)]
        return texts() if rng.random() < 0.25 else rng.choice(kinds)(stars)

    columns = {"body": texts(), "more": texts()}
    columns |= {name: anything(OTHER_KINDS) for name in ("rank", "id", "who", "when", "sure")}
    columns["unused"] = anything(UNUSED_KINDS)
    sink = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        sink,
        row_group_size=group,
        compression=rng.choice(["snappy", "zstd", "none", "gzip"]),
        use_dictionary=rng.random() < 0.5,
        data_page_version=rng.choice(["1.0", "2.0"]),
        data_page_size=rng.choice([500, 1 << 20]),
        write_statistics=rng.random() < 0.5,
        store_schema=rng.random() < 0.7,
    )
    return sink.getvalue()


def damage(data: bytearray, rng: random.Random, first: int, last: int, *, same_size: bool = False) -> None:
    """Change some bytes in [first, last)."""
    at = rng.randrange(first, last)
    length = min(rng.choice([1, 4, 64, 1000]), last - at)
    ways = ["flip", "flip", "set", "zero"] + ["cut", "insert", "double"] * (not same_size)
    match rng.choice(ways):
        case "flip":
            data[at] ^= 1 << rng.randrange(8)
        case "set":
            data[at] = rng.choice([0, 127, 128, 255])
        case "zero":
            data[at : at + length] = bytes(length)
        case "cut":
            del data[at : at + length]
        case "insert":
            data[at:at] = rng.randbytes(length)
        case "double":
            data[at:at] = data[at : at + length]


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """A copy of a file with damage in its pages, footer, or length."""
    data = bytearray(whole)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    match rng.choice(["pages", "pages", "pages", "footer", "cut", "lengthen"]):
        case "pages":
            for _ in range(rng.randint(1, 3)):
                damage(data, rng, 4, min(footer, len(data)), same_size=rng.random() < 0.8)
        case "footer":
            damage(data, rng, footer, len(whole) - 8, same_size=True)
        case "cut":
            del data[rng.randrange(5, len(whole)) :]
        case "lengthen":
            data += rng.randbytes(rng.choice([1, 100]))
    return bytes(data)


def read(file: Location, fmt: Format, chunk_bytes: int) -> tuple[dict[int, Row], str | None]:
    """Read a file as a job does; return each row by line number, and why the file is broken, if it is.

    Checks that chunks are contiguous, and that every row is kept or is rejected for a known reason.
    """
    outcome: dict[int, Row] = {}
    number, line = 0, 1
    for chunk in read_parquet_chunks(file, 0, fmt, chunk_bytes):
        assert (chunk.header.chunk, chunk.header.first_line, chunk.byte_offset) == (number, line, None)
        kept = keep_lines(chunk, fmt, RECIPE)
        kept.rows.validate(full=True)
        assert kept.rows.select(ROW_SCHEMA.names).schema == ROW_SCHEMA
        numbers = [*kept.rows["line"].to_pylist(), *(r.line for r in kept.rejected)]
        assert sorted(numbers) == list(range(line, line + chunk.header.lines))
        assert all(kept.rows["text"].to_pylist())
        reject_table(chunk.header.source, chunk.byte_offset, kept.rejected).validate(full=True)
        assert all(isinstance(r.reason, Reason) for r in kept.rejected)
        outcome |= {row["line"]: row for row in kept.rows.to_pylist()}
        outcome |= {r.line: f"{r.reason} {r.detail} {r.raw!r}" for r in kept.rejected}
        number, line = number + 1, line + chunk.header.lines
    assert chunk.header.last
    assert 0 <= chunk.header.bytes_read <= file.info().size
    return outcome, chunk.header.broken


def is_short_line(message: str | None) -> bool:
    return message is None or (message.isprintable() and len(message) < 1000)


@pytest.mark.parametrize("cases", CASES)
def test_damaged_files_are_read_or_refused_in_one_line(cases: int, tmp_path: Path) -> None:
    rng = random.Random(f"parquet {cases}")
    file = locate(tmp_path / "a")
    num_complete, num_broken = 0, 0
    refused: list[str] = []
    for case in range(cases):
        if case % 10 == 0:
            rows = rng.choice([1, 5, 20, 60])
            whole = make(rng, rows, rng.choice([rows, max(1, rows // 3)]))
            (tmp_path / "a").write_bytes(whole)
            fmt = detect_format(file, CONFIG, need_stars=False)
            assert fmt is not None
            outcome, broken = read(file, fmt, 1 << 20)
            assert (len(outcome), broken) == (rows, None)
        (tmp_path / "a").write_bytes(damaged(whole, rng))
        for detect in (True, False):
            # Without detection, which refuses more files, damage is found while reading.
            try:
                used = detect_format(file, CONFIG, need_stars=False) if detect else fmt
                if used is not None and used.dialect.syntax == "parquet":
                    outcome, broken = read(file, used, rng.choice([1 << 11, 1 << 20]))
                    assert is_short_line(broken)
                    num_broken += broken is not None
                    num_complete += len(outcome) == rows
            except InputError as error:
                refused.append(str(error))
    assert all(map(is_short_line, refused))
    assert min(num_complete, num_broken, len(refused)) > cases // 5


@pytest.mark.parametrize("cases", CASES)
def test_damage_in_one_row_group_leaves_the_others_unchanged(cases: int, tmp_path: Path) -> None:
    rng = random.Random(f"groups {cases}")
    file = locate(tmp_path / "a")
    num_broken, num_read = 0, 0
    for case in range(cases):
        if case % 10 == 0:
            whole = make(rng, 40, 10)
            (tmp_path / "a").write_bytes(whole)
            fmt = detect_format(file, CONFIG, need_stars=False)
            assert fmt is not None
            before, _ = read(file, fmt, 1 << 20)
            bounds = group_bounds(whole)
        group = rng.randrange(4)
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            damage(data, rng, *bounds[group], same_size=True)
        (tmp_path / "a").write_bytes(bytes(data))
        outcome, broken = read(file, fmt, rng.choice([1 << 11, 1 << 20]))
        damaged_lines = range(group * 10 + 1, group * 10 + 11)
        other_rows = {line: row for line, row in before.items() if line not in damaged_lines}
        assert {n: row for n, row in outcome.items() if n not in damaged_lines} == {
            n: row for n, row in other_rows.items() if broken is None or n < damaged_lines.start
        }
        assert is_short_line(broken)
        assert broken is not None or len(outcome) == 40
        num_broken += broken is not None
        num_read += broken is None
    assert min(num_broken, num_read) > cases // 5


def group_bounds(whole: bytes) -> list[tuple[int, int]]:
    """Byte ranges [first, last) of the pages of each row group of a file."""
    metadata = pq.read_metadata(io.BytesIO(whole))
    bounds = []
    for group in range(metadata.num_row_groups):
        chunks = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
        starts = [min(c.data_page_offset, c.dictionary_page_offset or c.data_page_offset) for c in chunks]
        ends = [s + c.total_compressed_size for s, c in zip(starts, chunks, strict=True)]
        bounds.append((min(starts), max(ends)))
    return bounds
