"""Decoder of a gzip member with ISA-L that returns all text before damage, and only then raises an error.

ISA-L decodes up to 64 KiB of text ahead of its output and drops that text on an error. So checksums are
verified here, and zlib decompresses the text before damaged data again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

GZIP_MAGIC = b"\x1f\x8b"

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16
_FIXED_BYTES = 10
_MAX_HEADER_BYTES = 1 << 20
_TRAILER_BYTES = 8
_READ_BYTES = 1 << 16
_STEP_BYTES = 1 << 12


class ByteStream(Protocol):
    """Open seekable file."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        ...

    def seek(self, position: int, /) -> object:
        """Set the read position."""
        ...

    def tell(self) -> int:
        """The read position."""
        ...


class DamagedDataError(ValueError):
    """The compressed data are damaged, and some text before the damage has not been returned."""


class GzipMember:
    """Decoder of one member, with the interface of the standard library's BZ2Decompressor.

    Source: RFC 1952.
    """

    def __init__(self) -> None:
        from isal import igzip_lib

        self._inflate = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP_NO_HDR)
        self._damage: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]
        self._head: bytes | None = b""
        self._tail = b""
        self._text_bytes = 0
        self.eof = False
        """Whether the member has ended, checksum included."""
        self.unused_data = b""
        """Bytes after the member."""

    @property
    def needs_input(self) -> bool:
        """Whether a call without data returns nothing."""
        if self._head is not None:
            return True
        return len(self._tail) < _TRAILER_BYTES if self._inflate.eof else bool(self._inflate.needs_input)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next text, at most `max_length` bytes.

        Raises:
            DamagedDataError: the data are damaged.
            ValueError: the header is invalid; or the checksum or length is wrong, after all text is returned.
        """
        if self._head is not None:
            self._head += data
            size = _header_bytes(self._head)
            if size is None:
                return b""
            data, self._head = self._head[size:], None
        if self._inflate.eof:
            self._end(data)
            return b""
        try:
            text = bytes(self._inflate.decompress(data, max_length))
        except self._damage as error:
            raise DamagedDataError(str(error)) from None
        self._text_bytes += len(text)
        if self._inflate.eof:
            self._tail = bytes(self._inflate.unused_data)
        return text

    def _end(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) < _TRAILER_BYTES:
            return
        checksum, length = (int.from_bytes(self._tail[at : at + 4], "little") for at in (0, 4))
        if checksum != self._inflate.crc:
            raise ValueError("the checksum is wrong, so the text before it may be corrupt")
        if length != self._text_bytes % 2**32:
            raise ValueError("the length is wrong")
        self.eof, self.unused_data = True, self._tail[_TRAILER_BYTES:]


def _header_bytes(head: bytes) -> int | None:
    """Size of the header of a member; None if it is incomplete.

    Raises:
        ValueError: it is not a gzip header.
    """
    if not GZIP_MAGIC.startswith(head[:2]) or (len(head) > 2 and head[2] != 8):
        raise ValueError("the trailing data are not gzip data")
    if len(head) > _MAX_HEADER_BYTES:
        raise ValueError("the header is not terminated")
    if len(head) < _FIXED_BYTES:
        return None
    flags, at = head[3], _FIXED_BYTES
    if flags & _FEXTRA:
        at += 2 + int.from_bytes(head[at : at + 2], "little")
    for flag in (_FNAME, _FCOMMENT):
        if flags & flag:
            end = head.find(b"\0", at)
            if end < 0:
                return None
            at = end + 1
    if flags & _FHCRC:
        at += 2
    return at if at <= len(head) else None


def text_before_damage(stream: ByteStream, start: int, skip_bytes: int) -> Iterator[bytes]:
    """Text of a member up to the damage, without its first `skip_bytes` bytes.

    Args:
        stream: the compressed file.
        start: offset of the member in the file.
    """
    stream.seek(start)
    decoder, data = zlib.decompressobj(31), b""
    while not decoder.eof and (data := data or bytes(stream.read(_READ_BYTES))):
        before = decoder.copy()
        try:
            text = decoder.decompress(data, _STEP_BYTES)
        except zlib.error:
            yield b"".join(_byte_by_byte(before, data))[skip_bytes:]
            return
        data = decoder.unconsumed_tail
        yield text[skip_bytes:]
        skip_bytes = max(0, skip_bytes - len(text))


def _byte_by_byte(decoder: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """All output before the error, byte by byte, because a zlib call that raises returns nothing."""
    try:
        while text := decoder.decompress(data, 1):
            yield text
            data = decoder.unconsumed_tail
    except zlib.error:
        return
