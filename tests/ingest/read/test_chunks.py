"""Chunks: complete lines and every byte once, for any compression, truncation and read size."""

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
    "gzip with trailing zeros": lambda d: gzip.compress(d) + b"\0" * 700,
    "bzip2": bz2.compress,
    "zstd": zstd,
}


def chunks_of(folder: Path, data: bytes, chunk_bytes: int, **options: object) -> list[Chunk]:
    (folder / "dump").write_bytes(data)
    cutting = Cutting(chunk_bytes)
    return list(read_chunks(locate(folder / "dump"), 3, cutting, **options))  # type: ignore[arg-type]


def check_ledger(chunks: list[Chunk]) -> bytes:
    """Text of all chunks; checks that they are contiguous and that only the last is marked."""
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
def test_every_byte_is_in_one_chunk_of_complete_lines(name: str, text: bytes, tmp_path: Path) -> None:
    chunks = chunks_of(tmp_path, COMPRESSIONS[name](text), 1024)
    assert check_ledger(chunks) == text
    assert all(c.raw.endswith(b"\n") for c in chunks[:-1])
    assert all(c.header.broken is None for c in chunks)
    assert len(chunks) > 10 or len(text) < 1024


def test_line_longer_than_chunk_bytes_results_in_a_long_chunk(tmp_path: Path) -> None:
    text = b"short\n" + b"x" * 50_000 + b"\nshort\n"
    chunks = chunks_of(tmp_path, text, 1024)
    assert check_ledger(chunks) == text
    assert max(len(c.raw) for c in chunks) >= 50_000


@given(
    text=st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=60).map(b"\n".join),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    chunk_bytes=st.integers(1, 64),
)
def test_chunks_do_not_depend_on_the_pieces_of_the_stream(
    text: bytes, cuts: list[int], chunk_bytes: int
) -> None:
    pieces, start = [], 0
    while start < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[start : start + size])
        start += size
    whole = list(cut_records([text], chunk_bytes, LINES, 1 << 20)) if text else []
    assert list(cut_records(pieces, chunk_bytes, LINES, 1 << 20)) == whole
    assert b"".join(raw for raw, _ in whole) == text


def test_gzip_truncated_at_every_byte_keeps_all_text_before(tmp_path: Path) -> None:
    data = gzip.compress(TEXT)
    for size in range(3, len(data)):
        expected = zlib.decompressobj(31).decompress(data[:size])
        chunks = chunks_of(tmp_path, data[:size], 2048)
        assert check_ledger(chunks) == expected
        assert f"at byte {size}" in (chunks[-1].header.broken or "")


def test_damaged_gzip_breaks_the_last_chunk(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(TEXT * 200, compresslevel=1))
    data[len(data) // 2] ^= 0xFF
    chunks = chunks_of(tmp_path, bytes(data), 1 << 16)
    text = check_ledger(chunks)
    assert chunks[-1].header.broken
    assert len(text) < len(TEXT) * 200 or "damaged" in chunks[-1].header.broken


@pytest.mark.parametrize("name", ["bzip2", "zstd"])
def test_other_truncated_streams_break_the_last_chunk(name: str, tmp_path: Path) -> None:
    data = COMPRESSIONS[name](TEXT * 50)
    chunks = chunks_of(tmp_path, data[: len(data) // 2], 1 << 14)
    assert (TEXT * 50).startswith(check_ledger(chunks))
    assert chunks[-1].header.broken


@pytest.mark.parametrize("max_lines", [1, 7, 399, 400, 401])
def test_max_lines_is_exact(max_lines: int, tmp_path: Path) -> None:
    chunks = chunks_of(tmp_path, TEXT, 1024, max_lines=max_lines)
    text = check_ledger(chunks)
    assert LINES.count(text) == min(max_lines, 400)
    assert TEXT.startswith(text)


def test_skipped_chunks_do_not_change_the_others(tmp_path: Path) -> None:
    all_chunks = chunks_of(tmp_path, TEXT, 1024)
    skip = {0, 3, all_chunks[-1].header.chunk}
    assert chunks_of(tmp_path, TEXT, 1024, skip=skip) == [c for c in all_chunks if c.header.chunk not in skip]


def test_first_records() -> None:
    assert first_records(b"a\nb\nc", 2, LINES) == b"a\nb\n"
    assert first_records(b"a\nb\nc", 3, LINES) == b"a\nb\nc"
    assert first_records(b"a\nb\nc\n", 9, LINES) == b"a\nb\nc\n"


def test_broken_stream_raises_after_the_text_before_the_break() -> None:
    stream = io.BytesIO(gzip.compress(TEXT)[:-10])
    pieces = decompress(stream)
    assert TEXT.startswith(next(pieces))
    with pytest.raises(BrokenStreamError, match="in the middle of a stream"):
        list(pieces)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "zstd"])
def test_concatenated_members(name: str, tmp_path: Path) -> None:
    pack = COMPRESSIONS[name]
    data = pack(b"") + pack(TEXT[:777]) + pack(b"") + pack(TEXT[777:]) + pack(b"")
    chunks = chunks_of(tmp_path, data, 1024)
    assert check_ledger(chunks) == TEXT
    assert chunks[-1].header.broken is None


@pytest.mark.parametrize("name", ["gzip", "bzip2"])
def test_trailing_zeros_are_ignored_and_other_bytes_are_not(name: str, tmp_path: Path) -> None:
    data = COMPRESSIONS[name](TEXT)
    chunks = chunks_of(tmp_path, data + b"\0" * 3000, 1024)
    assert check_ledger(chunks) == TEXT
    assert chunks[-1].header.broken is None
    chunks = chunks_of(tmp_path, data + b"\0" * 3000 + b"something else entirely", 1024)
    assert check_ledger(chunks) == TEXT
    assert chunks[-1].header.broken


@pytest.mark.parametrize("name", ["bzip2", "zstd"])
def test_stream_truncated_at_every_byte_does_not_raise(name: str, tmp_path: Path) -> None:
    data = COMPRESSIONS[name](TEXT[:2000])
    for size in range(6, len(data)):
        chunks = chunks_of(tmp_path, data[:size], 512)
        assert TEXT.startswith(check_ledger(chunks))
        assert chunks[-1].header.broken, size


def test_size_of_pieces_is_bounded() -> None:
    pieces = [len(p) for p in decompress(io.BytesIO(gzip.compress(b"\n" * (1 << 23))))]
    assert sum(pieces) == 1 << 23
    assert max(pieces) <= 1 << 20


class FailingStorage(io.BytesIO):
    """A file whose second half cannot be read."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= len(self.getbuffer()) // 2:
            raise OSError(110, "Connection timed out")
        return super().read(min(size or 0, 1 << 10))


@pytest.mark.parametrize("name", ["plain", "gzip", "bzip2", "zstd"])
def test_failed_read_is_not_a_broken_stream(name: str) -> None:
    # A broken stream ends the file; a failed read must be retried.
    rng = random.Random(0)
    text = b"".join(b"%d\n" % rng.getrandbits(60) for _ in range(5000))
    stream = FailingStorage(COMPRESSIONS[name](text))
    with pytest.raises(OSError, match="Connection timed out"):
        list(decompress(stream))


@given(chunk_bytes=st.integers(1, 3000), max_lines=st.one_of(st.none(), st.integers(1, 450)))
def test_chunks_do_not_depend_on_the_compression(chunk_bytes: int, max_lines: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = (
            chunks_of(Path(folder), gzip.compress(TEXT, level), chunk_bytes, max_lines=max_lines)
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


def test_number_of_lines_of_a_chunk_is_bounded(tmp_path: Path) -> None:
    text = b"a\n" * 10 + b"\n" * 150_000
    chunks = chunks_of(tmp_path, text, 1 << 20)
    assert check_ledger(chunks) == text
    assert [c.header.lines for c in chunks] == [1 << 16, 1 << 16, 150_010 - (2 << 16)]
    first = chunks_of(tmp_path, text, 1 << 20, max_lines=70_000)
    assert [c.header.lines for c in first] == [1 << 16, 70_000 - (1 << 16)]
    assert first[-1].header.last
