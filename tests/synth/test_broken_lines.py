"""Synthetic lines with defects: their number, kinds and reject reasons."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.storage.location import locate
from pipeline.synth import BLOCK_ROWS, FORMATS, KINDS, WrittenDump, write_dump
from pipeline.synth.formats import STARS_FIELD, TEXT_FIELDS

ROWS = 3 * BLOCK_ROWS + 100
FEW_ROWS = BLOCK_ROWS + 100


def lines_of(dump: WrittenDump) -> list[bytes]:
    texts = [gzip.decompress(file.read_bytes()) for file in dump.files]
    assert all(text.endswith(b"\n") for text in texts)
    return [line for text in texts for line in text[:-1].split(b"\n")]


def kind_of(line: bytes, fmt: str) -> str | None:
    """Kind of defect of a line, determined from its content."""
    if not line.strip():
        return "empty_line"
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "bad_utf8"
    except json.JSONDecodeError:
        return "cut_json"
    if not isinstance(row, dict):
        return "not_an_object"
    if not any(name in row for name in TEXT_FIELDS[fmt]):
        return "no_text"
    return None if row.get(STARS_FIELD[fmt]) in (1.0, 2.0, 3.0, 4.0, 5.0) else "bad_stars"


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("frac", [0.0, 0.02, 0.5, 1.0])
def test_number_of_broken_lines_is_reported(tmp_path: Path, fmt: str, frac: float) -> None:
    dump = write_dump(locate(tmp_path), FEW_ROWS, shards=3, fmt=fmt, broken_frac=frac)
    lines = lines_of(dump)
    assert len(lines) == dump.rows == FEW_ROWS
    kinds = Counter(kind for line in lines if (kind := kind_of(line, fmt)))
    assert kinds == dump.broken
    assert (
        dump.broken_rows == sum(kinds.values()) == pytest.approx(frac * FEW_ROWS, abs=4 * FEW_ROWS**0.5 / 2)
    )
    if frac == 1.0:
        assert dump.broken_rows == FEW_ROWS


def test_kinds_have_the_documented_fractions(tmp_path: Path) -> None:
    dump = write_dump(locate(tmp_path), ROWS, broken_frac=1.0)
    assert sum(KINDS.values()) == pytest.approx(1.0)
    assert {kind: count / ROWS for kind, count in dump.broken.items()} == pytest.approx(KINDS, abs=0.03)


def test_intact_lines_do_not_depend_on_broken_frac(tmp_path: Path) -> None:
    intact = lines_of(write_dump(locate(tmp_path / "intact"), FEW_ROWS))
    broken = lines_of(write_dump(locate(tmp_path / "broken"), FEW_ROWS, shards=2, broken_frac=0.3))
    differ = [at for at, (a, b) in enumerate(zip(intact, broken, strict=True)) if a != b]
    assert [at for at, line in enumerate(broken) if kind_of(line, "2018")] == differ


def test_broken_lines_do_not_depend_on_the_number_of_shards(tmp_path: Path) -> None:
    one, many = (write_dump(locate(tmp_path / str(n)), FEW_ROWS, n, broken_frac=0.1) for n in (1, 7))
    assert lines_of(one) == lines_of(many)
    assert one.broken == many.broken


def test_each_kind_has_several_variants(tmp_path: Path) -> None:
    lines = lines_of(write_dump(locate(tmp_path), ROWS, broken_frac=1.0))
    by_kind: dict[str | None, list[bytes]] = {}
    for line in lines:
        by_kind.setdefault(kind_of(line, "2018"), []).append(line)
    stars: list[Any] = [json.loads(line).get("overall") for line in by_kind["bad_stars"]]
    assert {0.0, 6.0, 3.7, "five", None} < set(stars)
    assert len({type(json.loads(line)) for line in by_kind["not_an_object"]}) == 4
    assert set(by_kind["empty_line"]) == {b"", b"   ", b"\t"}
    cuts = [len(line) for line in by_kind["cut_json"]]
    assert np.percentile(cuts, 1) < 30
    assert np.percentile(cuts, 99) > 300


def test_reject_reasons_of_each_kind(tmp_path: Path) -> None:
    from pipeline.ingest.parse.formats import FORMATS as READ
    from pipeline.ingest.parse.formats import ParseOptions
    from pipeline.ingest.parse.parse import parse_chunk
    from pipeline.ingest.read.chunks import Chunk, ChunkHeader

    dump = write_dump(locate(tmp_path), FEW_ROWS, broken_frac=0.2)
    raw = b"\n".join(lines_of(dump)) + b"\n"
    chunk = Chunk(ChunkHeader(0, "/in/a", 0, 1, FEW_ROWS, last=True, broken=None, bytes_read=0), 0, raw)
    table, rejected = parse_chunk(chunk, READ[0], ParseOptions())
    assert table.num_rows + len(rejected) == FEW_ROWS
    reasons = Counter(line.reason for line in rejected)
    assert reasons["empty_line"] == dump.broken["empty_line"]
    assert reasons["not_an_object"] == dump.broken["not_an_object"]
    assert reasons["bad_json"] + reasons["bad_encoding"] == dump.broken["cut_json"] + dump.broken["bad_utf8"]
    assert table.column("text").null_count == dump.broken["no_text"]
