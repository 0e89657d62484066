"""gzip members: all headers, text before a wrong checksum, damaged and truncated data."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib

import pytest

from pipeline.ingest.read.compression import BrokenStreamError, decompress

TEXT = b"".join(b'{"a": %d, "t": "%d"}\n' % (i, i**9) for i in range(3000))
WHOLE = gzip.compress(TEXT)


def member(flags: int, text: bytes) -> bytes:
    """A gzip member with the optional header fields of the given flags (RFC 1952)."""
    head = b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\xff"
    head += struct.pack("<H", 5) + b"extra" if flags & 4 else b""
    head += b"name.json\0" if flags & 8 else b""
    head += b"a comment\0" if flags & 16 else b""
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF) if flags & 2 else b""
    packer = zlib.compressobj(wbits=-15)
    return head + packer.compress(text) + packer.flush() + struct.pack("<II", zlib.crc32(text), len(text))


class OneByOne(io.BytesIO):
    """A file that returns one byte per large read."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(1 if size is None or size > 100 else size)


def read(data: bytes) -> tuple[bytes, str | None]:
    pieces = []
    try:
        for piece in decompress(io.BytesIO(data)):
            pieces.append(piece)
    except BrokenStreamError as error:
        return b"".join(pieces), str(error)
    return b"".join(pieces), None


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("flags", range(0, 32, 2))
def test_optional_header_fields(flags: int) -> None:
    data = member(flags, TEXT[:2000]) + member(flags, b"") + member(0, TEXT[2000:3000])
    assert read(data) == (TEXT[:3000], None)
    assert b"".join(decompress(OneByOne(data))) == TEXT[:3000]


@pytest.mark.parametrize(("at", "what"), [(-6, "the checksum is wrong"), (-1, "the length is wrong")])
def test_text_is_kept_if_the_trailer_is_wrong(at: int, what: str) -> None:
    text, broken = read(flipped(WHOLE, len(WHOLE) + at))
    assert text == TEXT
    assert broken is not None
    assert what in broken
    # Also in the first of two members.
    text, broken = read(flipped(WHOLE, len(WHOLE) + at) + WHOLE)
    assert text == TEXT
    assert broken is not None
    assert what in broken


@pytest.mark.parametrize("cut", range(1, 9))
def test_text_is_kept_if_the_trailer_is_truncated(cut: int) -> None:
    text, broken = read(WHOLE[:-cut])
    assert text == TEXT
    assert broken is not None
    assert "end in the middle" in broken


def test_trailing_garbage_is_reported() -> None:
    text, broken = read(WHOLE + b"and more")
    assert text == TEXT
    assert broken is not None
    assert "not gzip data" in broken


def test_length_of_the_header_is_bounded() -> None:
    text, broken = read(b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"x" * (3 << 20))
    assert text == b""
    assert broken is not None
    assert "the header is not terminated" in broken


def test_text_before_damaged_data_is_kept() -> None:
    rng = random.Random(0)
    for _ in range(200):
        at = rng.randrange(20, len(WHOLE) - 8)
        text, broken = read(WHOLE + flipped(WHOLE, at))
        assert broken is not None
        # zlib's output for the data before the wrong byte; it may buffer the last character.
        before = zlib.decompressobj(31).decompress(WHOLE[:at])
        assert text.startswith(TEXT + before[:-1])


def test_flipped_bits_never_crash() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        data = bytearray(member(rng.randrange(0, 32, 2), TEXT[:300]) + gzip.compress(TEXT[:500]))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(2, len(data))] ^= 1 << rng.randrange(8)
        read(bytes(data))
