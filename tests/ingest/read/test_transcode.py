"""Text in other encodings: the same rows as in UTF-8, and rejects with the bytes and offsets of the file."""

from __future__ import annotations

import csv
import encodings.aliases
import gzip
import io
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import InputConfig
from pipeline.encodings import MULTIBYTE, encoding_name
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Kept, Recipe, keep_lines
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.lines import LineFinder
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.rejects import reject_table
from pipeline.ingest.read.chunks import Chunk, read_chunks
from pipeline.ingest.read.limits import ReadLimits
from pipeline.ingest.read.transcode import OriginalBytes, Transcoder, encoded, encoded_length, to_utf8
from pipeline.ingest.stream import ReadPlan, chunk_table, to_chunk
from pipeline.storage.location import locate
from tests.detection import detect_format

RECIPE = Recipe(" ", 32, verified_only=False, scheme=label_scheme("stars"))
ALPHABETS = {
    "cp1252": "aé“ß€\\|{\n",
    "iso8859-1": "añü\x85 ",
    "cp1251": "aяю,ш",
    "koi8-r": "яъ;",
    "shift_jis": "表ソ能aﾊ",
    "cp932": "表①≒∵髙\\",
    "euc_jp": "日本ｶ丂",
    "cp949": "한글똠a",
    "gb18030": "中文㐀🙂é",
    "big5": "功許蓋|",
    "utf-16-le": "上aé🙂\u0a00\u000b",
    "utf-16-be": "上aé🙂\u0d0a",
    "utf-32-le": "上🙂a",
    "utf-16": "aé上",
    "cp037": "aéü",
    "mac-roman": "aéπ",
}


def supported() -> list[str]:
    found = set()
    for name in {*encodings.aliases.aliases.values(), "koi8_u", "cp874"}:
        try:
            found.add(encoding_name(name))
        except ValueError:
            continue
    return sorted(found - {"utf-8", "utf-16", "utf-32"})


@pytest.mark.parametrize("encoding", supported())
def test_every_byte_of_every_encoding_is_restored(encoding: str) -> None:
    rng = random.Random(encoding)
    usual = (10, 13, 48, 65, 129, 0xD8, 0xFE, 0)
    for _ in range(25):
        data = bytes(rng.choice((rng.randrange(256), *usual)) for _ in range(rng.randrange(200)))
        pieces, start = [], 0
        while start < len(data):
            pieces.append(data[start : start + rng.randrange(1, 30)])
            start += len(pieces[-1])
        text = to_utf8(data, encoding)
        stream = Transcoder(pieces, encoding, 64)
        assert b"".join(stream) == text
        assert (len(encoded(text, encoding)), encoded_length(text, encoding)) == (len(data), len(data))
        size, variants = stream.take(text, 0)
        assert size == len(data)
        original, at = OriginalBytes(text, encoding, variants), 0
        for line in text.splitlines(keepends=True):
            position, content = original.span(at, at + len(line))
            assert content == data[position : position + len(content)]
            at += len(line)
        assert original.span(0, len(text)) == (0, data)


@pytest.mark.parametrize("encoding", sorted(MULTIBYTE))
def test_every_character_of_a_multibyte_encoding_has_the_length_of_its_code(encoding: str) -> None:
    for first in range(0x80, 0x100):
        codes = [bytes((first, second)) for second in range(0x30, 0x100)]
        data = b"\n".join(codes)
        text = to_utf8(data, encoding)
        stream = Transcoder([data], encoding, 1 << 20)
        assert b"".join(stream) == text
        assert OriginalBytes(text, encoding, stream.take(text, 0)[1]).span(0, len(text)) == (0, data)


def records_of(texts: list[str]) -> list[dict[str, object]]:
    """Records with each text; every third has no stars."""
    return [{"overall": "" if n % 3 == 2 else n % 5 + 1, "reviewText": t} for n, t in enumerate(texts)]


def as_json(texts: list[str]) -> str:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records_of(texts))


def as_csv(texts: list[str], delimiter: str = ",") -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["overall", "reviewText"])
    writer.writerows(r.values() for r in records_of(texts))
    return out.getvalue()


WRITERS = {"json": as_json, "csv": as_csv, "tsv": lambda texts: as_csv(texts, "\t")}


def read(fmt: Format, file: Path, chunk_bytes: int) -> list[tuple[Chunk, Kept]]:
    """Chunks as workers get them, and their rows; checks positions and bytes of the chunks and rejects."""
    stored = file.read_bytes()
    whole = gzip.decompress(stored) if stored.startswith(b"\x1f\x8b") else stored
    limits = ReadLimits(max_line_bytes=1 << 14)
    found, offset = [], fmt.dialect.start_bytes
    for chunk in read_chunks(locate(file), 0, fmt.dialect.cutting(chunk_bytes, limits)):
        assert to_chunk(chunk_table(chunk)) == chunk
        assert chunk.byte_offset is not None
        assert chunk.byte_offset == offset
        kept = keep_lines(chunk, fmt, replace(RECIPE, limits=limits))
        table = reject_table("a", chunk.byte_offset, kept.rejected)
        for position, raw in zip(table["byte_offset"].to_pylist(), table["raw"].to_pylist(), strict=True):
            assert whole[position : position + len(raw)] == raw
        assert fmt.dialect.encoding is not None
        original = OriginalBytes(chunk.raw, fmt.dialect.encoding, chunk.variants)
        content = original.span(0, len(chunk.raw))[1]
        assert whole[offset : offset + len(content)] == content
        offset += len(content)
        found.append((chunk, kept))
    assert offset == len(whole)
    return found


def rows_of(read_chunks: list[tuple[Chunk, Kept]]) -> list[dict[str, object]]:
    return pa.concat_tables([kept.rows for _, kept in read_chunks]).to_pylist()


@given(data=st.data())
def test_rows_are_those_of_the_same_file_in_utf8(data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(sorted(ALPHABETS)))
    syntax = data.draw(st.sampled_from(sorted(WRITERS)))
    text = st.text(ALPHABETS[encoding] + 'x ",', min_size=1, max_size=12).map(lambda t: f"x{t}x")
    texts = data.draw(st.lists(text, min_size=1, max_size=12))
    chunk_bytes = data.draw(st.integers(1, 400))
    content = WRITERS[syntax](texts)
    with tempfile.TemporaryDirectory() as folder:
        plain, other = Path(folder) / "plain", Path(folder) / "other"
        plain.write_bytes(content.encode())
        other.write_bytes(gzip.compress(content.encode(encoding), 1))
        config = InputConfig(encoding=encoding, quoted=True)
        fmt = detect_format(locate(other), config)
        expected = detect_format(locate(plain), config.model_copy(update={"encoding": None}))
        assert fmt is not None
        assert expected is not None
        assert replace(fmt.dialect, start_bytes=0, encoding=None) == replace(expected.dialect, start_bytes=0)
        ours = read(fmt, other, chunk_bytes)
        theirs = [
            (chunk, keep_lines(chunk, expected, RECIPE))
            for chunk in read_chunks(locate(plain), 0, expected.dialect.cutting(chunk_bytes))
        ]
    assert rows_of(ours) == rows_of(theirs)
    assert [c.raw for c, _ in ours] == [c.raw for c, _ in theirs]
    rejects = [
        [(r.line, r.reason, r.detail) for _, kept in found for r in kept.rejected] for found in (ours, theirs)
    ]
    assert rejects[0] == rejects[1]


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [
        ("cp1252", b"\x81"),
        ("shift_jis", b"\xff"),
        ("euc_jp", b"\xff"),
        ("gb18030", b"\x81\x30\x81"),
        ("utf-16-le", b"\x00\xd8"),
        ("utf-16-be", b"\xdc\x00"),
        ("utf-32-le", b"\xff\xff\xff\x00"),
    ],
)
@pytest.mark.parametrize("syntax", ["json", "csv"])
@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
def test_invalid_bytes_reject_only_their_row(
    syntax: str, encoding: str, bad: bytes, chunk_bytes: int, tmp_path: Path
) -> None:
    content = WRITERS[syntax]([f"number {n}" for n in range(9)]).encode(encoding)
    before, at, after = content.partition("number 4".encode(encoding))
    (tmp_path / "a").write_bytes(before + bad + at + after)
    fmt = detect_format(locate(tmp_path / "a"), InputConfig(encoding=encoding))
    assert fmt is not None
    found = read(fmt, tmp_path / "a", chunk_bytes)
    rejected = [r for _, kept in found for r in kept.rejected]
    assert [(r.line, r.reason) for r in rejected if r.reason != "missing_stars"] == [(5, "bad_encoding")]
    (reject,) = [r for r in rejected if r.reason == "bad_encoding"]
    assert reject.detail == f"reviewText is not valid {encoding}"
    assert reject.raw is not None
    assert bad + at in reject.raw
    assert [r["text"] for r in rows_of(found)] == [f"number {n}" for n in (0, 1, 3, 6, 7)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "cp932", "cp1252"])
@pytest.mark.parametrize("chunk_bytes", [1 << 10, 1 << 16])
def test_long_line_is_skipped_and_the_offset_after_it_is_exact(
    encoding: str, chunk_bytes: int, tmp_path: Path
) -> None:
    long = {"cp1252": "é", "cp932": "表"}.get(encoding, "上🙂")
    lines = as_json(["one", "two", long * 2_000_000, "five"]).split("\n")
    whole = "\n".join([*lines[:3], *as_json(["a", "b", "c", "d"]).split("\n")]).encode(encoding)
    (tmp_path / "a").write_bytes(whole)
    fmt = detect_format(locate(tmp_path / "a"), InputConfig(encoding=encoding))
    assert fmt is not None
    limits = ReadLimits(max_line_bytes=1 << 14)
    chunks = list(read_chunks(locate(tmp_path / "a"), 0, fmt.dialect.cutting(chunk_bytes, limits)))
    assert max(len(c.raw) for c in chunks) < 1 << 18
    start = 0
    rejected = []
    for chunk in chunks:
        assert chunk.byte_offset == start
        if chunk.skipped_bytes:
            start = len("\n".join([*lines[:3], ""]).encode(encoding))
        else:
            start += len(encoded(chunk.raw, encoding))
        kept = keep_lines(chunk, fmt, replace(RECIPE, limits=limits))
        table = reject_table("a", chunk.byte_offset, kept.rejected)
        rejected += table.to_pylist()
    assert start == len(whole)
    (reject,) = [r for r in rejected if r["reason"] == "line_too_long"]
    assert (reject["line"], whole.startswith(reject["raw"], reject["byte_offset"])) == (3, True)
    assert 2000 < len(reject["raw"]) <= 4096


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be", "shift_jis", "gb18030"])
def test_file_truncated_at_any_byte_is_read(encoding: str, tmp_path: Path) -> None:
    whole = as_json(["日本", "表"]).encode(encoding)
    # Every position within a character occurs.
    for size in range(whole.index("\n".encode(encoding)) + 4, len(whole), 3):
        (tmp_path / "a").write_bytes(whole[:size])
        fmt = detect_format(locate(tmp_path / "a"), InputConfig(encoding=encoding))
        assert fmt is not None
        found = read(fmt, tmp_path / "a", 64)
        assert rows_of(found)[0]["text"] == "日本"
        assert sum(chunk.header.lines for chunk, _ in found) in (1, 2)


def test_broken_stream_in_another_encoding_keeps_the_text_before(tmp_path: Path) -> None:
    whole = as_csv([f"naïve {n * n}" for n in range(4000)]).encode("utf-16")
    (tmp_path / "a").write_bytes(gzip.compress(whole)[:-3000])
    fmt = detect_format(locate(tmp_path / "a"), InputConfig())
    assert fmt is not None
    chunks = list(read_chunks(locate(tmp_path / "a"), 0, fmt.dialect.cutting(1 << 12)))
    assert "in the middle of a stream" in (chunks[-1].header.broken or "")
    text = b"".join(c.raw for c in chunks)
    assert whole.startswith(encoded(text, "utf-16-le"), fmt.dialect.start_bytes)
    assert len(text) > 10_000


@pytest.mark.parametrize("encoding", ["utf-16", "cp932"])
def test_lines_are_found_again_by_number(encoding: str, tmp_path: Path) -> None:
    content = as_csv([f"① ≒ 表\n{n}" for n in range(50)]).encode(encoding)
    # NEC's code of ≒, which Python encodes differently.
    content = content.replace("≒".encode("cp932"), b"\x87\x90") if encoding == "cp932" else content
    (tmp_path / "a.csv").write_bytes(content)
    (source,) = detect_sources([locate(tmp_path / "a.csv")], InputConfig(encoding=encoding))
    finder = LineFinder(source, ReadPlan(256), RECIPE.parse_options())
    rows = pa.table({"line": [3, 20, 50], "reason": ["duplicate"] * 3, "detail": [""] * 3})
    for row in finder.rejects(rows).to_pylist():
        assert content.startswith(row["raw"], row["byte_offset"])
        shown = row["raw"].decode("utf-16-le" if encoding == "utf-16" else encoding)
        assert shown.endswith(f'"① ≒ 表\n{row["line"] - 1}"\r')
