"""Chunks: whole lines, every byte once, however the file is compressed, cut short or read."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.read.chunks import Chunk, Cutting, read_chunks
from pipeline.ingest.read.compression import BrokenStreamError, decompress
from pipeline.ingest.read.cutting import LINES, cut_records, first_records
from pipeline.storage.location import locate

TEXT = b"".join(b'{"overall": %d, "reviewText": "number %d"}\n' % (i % 5 + 1, i * i) for i in range(400))


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


COMPRESSIONS = {
    "plain": lambda d: d,
    "gzip": gzip.compress,
    "gzip in members": lambda d: gzip.compress(d[:5000]) + gzip.compress(b"") + gzip.compress(d[5000:]),
    "gzip with zeros after it": lambda d: gzip.compress(d) + b"\0" * 700,
    "bzip2": bz2.compress,
    "zstd": zstd,
}


def chunks_of(folder: Path, data: bytes, chunk_bytes: int, **options: object) -> list[Chunk]:
    (folder / "dump").write_bytes(data)
    cutting = Cutting(chunk_bytes)
    return list(read_chunks(locate(folder / "dump"), 3, cutting, **options))  # type: ignore[arg-type]


def check_ledger(chunks: list[Chunk]) -> bytes:
    """Numbers, lines and offsets join up, one is the last; returns the text."""
    line, offset = 1, 0
    for number, chunk in enumerate(chunks):
        header = chunk.header
        assert (header.file, header.chunk, header.first_line, chunk.byte_offset) == (3, number, line, offset)
        assert header.lines == LINES.count(chunk.raw)
        line, offset = header.next_line, offset + len(chunk.raw)
    assert [c.header.last for c in chunks] == [False] * (len(chunks) - 1) + [True]
    return b"".join(c.raw for c in chunks)


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize(
    "text", [TEXT, TEXT[:-1], b"", b"one line", b"\n"], ids=["whole", "cut", "empty", "one", "blank"]
)
def test_every_byte_comes_out_once_in_whole_lines(name: str, text: bytes, tmp_path: Path) -> None:
    chunks = chunks_of(tmp_path, COMPRESSIONS[name](text), 1024)
    assert check_ledger(chunks) == text
    assert all(c.raw.endswith(b"\n") for c in chunks[:-1])
    assert all(c.header.broken is None for c in chunks)
    assert len(chunks) > 10 or len(text) < 1024


def test_a_line_longer_than_many_chunks_makes_one_long_chunk(tmp_path: Path) -> None:
    text = b"short\n" + b"x" * 50_000 + b"\nshort\n"
    chunks = chunks_of(tmp_path, text, 1024)
    assert check_ledger(chunks) == text
    assert max(len(c.raw) for c in chunks) >= 50_000


@given(
    text=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=60).map(b"\n".join),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    chunk_bytes=st.integers(1, 64),
)
def test_chunks_do_not_depend_on_how_the_stream_comes(text: bytes, cuts: list[int], chunk_bytes: int) -> None:
    pieces, start = [], 0
    while start < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[start : start + size])
        start += size
    whole = list(cut_records([text], chunk_bytes, LINES, 1 << 20)) if text else []
    assert list(cut_records(pieces, chunk_bytes, LINES, 1 << 20)) == whole
    assert b"".join(raw for raw, _ in whole) == text


def test_a_gzip_cut_at_every_byte_gives_all_that_precedes_the_cut(tmp_path: Path) -> None:
    data = gzip.compress(TEXT)
    for size in range(3, len(data)):
        expected = zlib.decompressobj(31).decompress(data[:size])
        chunks = chunks_of(tmp_path, data[:size], 2048)
        assert check_ledger(chunks) == expected
        assert f"at byte {size}" in (chunks[-1].header.broken or "")


def test_a_damaged_gzip_ends_in_a_broken_chunk(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(TEXT * 200, compresslevel=1))
    data[len(data) // 2] ^= 0xFF
    chunks = chunks_of(tmp_path, bytes(data), 1 << 16)
    text = check_ledger(chunks)
    assert chunks[-1].header.broken
    assert len(text) < len(TEXT) * 200 or "damaged" in chunks[-1].header.broken


@pytest.mark.parametrize("name", ["bzip2", "zstd"])
def test_other_streams_that_are_cut_say_so(name: str, tmp_path: Path) -> None:
    data = COMPRESSIONS[name](TEXT * 50)
    chunks = chunks_of(tmp_path, data[: len(data) // 2], 1 << 14)
    assert (TEXT * 50).startswith(check_ledger(chunks))
    assert chunks[-1].header.broken


@pytest.mark.parametrize("most", [1, 7, 399, 400, 401])
def test_max_lines_is_exact(most: int, tmp_path: Path) -> None:
    chunks = chunks_of(tmp_path, TEXT, 1024, max_lines=most)
    text = check_ledger(chunks)
    assert LINES.count(text) == min(most, 400)
    assert TEXT.startswith(text)


def test_skipped_chunks_do_not_change_the_others(tmp_path: Path) -> None:
    every = chunks_of(tmp_path, TEXT, 1024)
    some = chunks_of(tmp_path, TEXT, 1024, skip={0, 3, every[-1].header.chunk})
    assert some == [c for c in every if c.header.chunk not in {0, 3, every[-1].header.chunk}]


def test_first_records() -> None:
    assert first_records(b"a\nb\nc", 2, LINES) == b"a\nb\n"
    assert first_records(b"a\nb\nc", 3, LINES) == b"a\nb\nc"
    assert first_records(b"a\nb\nc\n", 9, LINES) == b"a\nb\nc\n"


def test_a_break_comes_after_the_text_before_it() -> None:
    stream = io.BytesIO(gzip.compress(TEXT)[:-10])
    pieces = decompress(stream)
    assert TEXT.startswith(next(pieces))
    with pytest.raises(BrokenStreamError, match="in the middle of a stream"):
        list(pieces)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "zstd"])
def test_members_follow_each_other(name: str, tmp_path: Path) -> None:
    pack = COMPRESSIONS[name]
    data = pack(b"") + pack(TEXT[:777]) + pack(b"") + pack(TEXT[777:]) + pack(b"")
    chunks = chunks_of(tmp_path, data, 1024)
    assert check_ledger(chunks) == TEXT
    assert chunks[-1].header.broken is None


@pytest.mark.parametrize("name", ["gzip", "bzip2"])
def test_zeros_may_follow_but_nothing_else(name: str, tmp_path: Path) -> None:
    data = COMPRESSIONS[name](TEXT)
    chunks = chunks_of(tmp_path, data + b"\0" * 3000, 1024)
    assert check_ledger(chunks) == TEXT
    assert chunks[-1].header.broken is None
    chunks = chunks_of(tmp_path, data + b"\0" * 3000 + b"something else entirely", 1024)
    assert check_ledger(chunks) == TEXT
    assert chunks[-1].header.broken


@pytest.mark.parametrize("name", ["bzip2", "zstd"])
def test_a_small_stream_cut_anywhere_is_never_an_exception(name: str, tmp_path: Path) -> None:
    data = COMPRESSIONS[name](TEXT[:2000])
    for size in range(6, len(data)):
        chunks = chunks_of(tmp_path, data[:size], 512)
        assert TEXT.startswith(check_ledger(chunks))
        assert chunks[-1].header.broken, size


def test_what_compresses_well_comes_in_pieces() -> None:
    pieces = [len(p) for p in decompress(io.BytesIO(gzip.compress(b"\n" * (1 << 23))))]
    assert sum(pieces) == 1 << 23
    assert max(pieces) <= 1 << 20


class FailingStorage(io.BytesIO):
    """A file of which the second half cannot be read just now."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= len(self.getbuffer()) // 2:
            raise OSError(110, "Connection timed out")
        return super().read(min(size or 0, 1 << 10))


@pytest.mark.parametrize("name", ["plain", "gzip", "bzip2", "zstd"])
def test_storage_that_fails_is_no_broken_stream(name: str) -> None:
    # A broken stream is the file's end; a failed read must be tried again.
    rng = random.Random(0)
    text = b"".join(b"%d\n" % rng.getrandbits(60) for _ in range(5000))
    stream = FailingStorage(COMPRESSIONS[name](text))
    with pytest.raises(OSError, match="Connection timed out"):
        list(decompress(stream))


@given(chunk_bytes=st.integers(1, 3000), most=st.one_of(st.none(), st.integers(1, 450)))
def test_reading_again_cuts_the_same_chunks(chunk_bytes: int, most: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = (
            chunks_of(Path(folder), gzip.compress(TEXT, level), chunk_bytes, max_lines=most)
            for level in (0, 9)
        )
    without = [[replace(c, header=replace(c.header, bytes_read=0)) for c in chunks] for chunks in (one, two)]
    assert without[0] == without[1]
    check_ledger(one)


def test_progress_ends_at_the_size_of_the_file(tmp_path: Path) -> None:
    for pack in COMPRESSIONS.values():
        data = pack(TEXT)
        chunks = chunks_of(tmp_path, data, 1024)
        assert chunks[-1].header.bytes_read == len(data)
        assert [c.header.bytes_read for c in chunks] == sorted(c.header.bytes_read for c in chunks)


def test_very_short_lines_are_cut_into_several_chunks(tmp_path: Path) -> None:
    text = b"a\n" * 10 + b"\n" * 150_000
    chunks = chunks_of(tmp_path, text, 1 << 20)
    assert check_ledger(chunks) == text
    assert [c.header.lines for c in chunks] == [1 << 16, 1 << 16, 150_010 - (2 << 16)]
    first = chunks_of(tmp_path, text, 1 << 20, max_lines=70_000)
    assert [c.header.lines for c in first] == [1 << 16, 70_000 - (1 << 16)]
    assert first[-1].header.last
