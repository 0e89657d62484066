"""Streaming decompression of dumps. The compression is detected by the first bytes, never by the name."""

from __future__ import annotations

import bz2
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from pipeline.ingest.read.gzipmember import (
    GZIP_MAGIC,
    ByteStream,
    DamagedDataError,
    GzipMember,
    text_before_damage,
)
from pipeline.storage.location import Location
from pipeline.storage.readahead import FileReader

_READ_BYTES = 1 << 18
_PIECE_BYTES = 1 << 18
_BZIP2_PIECE_BYTES = 1 << 13
"""Small, because the piece that contains damaged bzip2 data is lost."""

_ZSTD_PIECE_BYTES = 1 << 14
_ZSTD_MAGIC = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""Magic number of a frame, or of a skippable frame, with which some writers begin."""


_BZIP2_MAGIC = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
"""Start of a file and of its first block, or of the end of an empty file."""

_STORED_HEAD_BYTES = 64


class _Decoder(Protocol):
    """Decoder of one member of a file, with the interface of the standard library's BZ2Decompressor."""

    @property
    def needs_input(self) -> bool: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class BrokenStreamError(Exception):
    """A compressed stream is truncated or damaged; the text before that point has been yielded."""


def codec_of(head: bytes, *, strict: bool = False) -> str | None:
    """Compression of a file from its first bytes: `gzip`, `bzip2`, `zstd`, or None.

    Args:
        strict: whether the first bytes must be more than those with which a text can start; needs 10 bytes.
    """
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    if _BZIP2_MAGIC.match(head) if strict else head.startswith(b"BZh"):
        return "bzip2"
    return "zstd" if _ZSTD_MAGIC.match(head) else None


def decompress(stream: ByteStream) -> Iterator[bytes]:
    """Decompressed pieces of an open file.

    Raises:
        BrokenStreamError: the compressed data are truncated or damaged; raised after all pieces before that.
    """
    codec = codec_of(bytes(stream.read(6)))
    stream.seek(0)
    if codec == "gzip":
        return _members(stream, "gzip", GzipMember, ValueError, _PIECE_BYTES)
    if codec == "bzip2":
        return _members(stream, "bz2", bz2.BZ2Decompressor, OSError, _BZIP2_PIECE_BYTES)
    if codec == "zstd":
        return _unzstd(stream)
    return iter(lambda: bytes(stream.read(_PIECE_BYTES)), b"")


def _members(
    stream: ByteStream,
    codec: str,
    new_decoder: Callable[[], _Decoder],
    damage: type[Exception],
    piece_bytes: int,
) -> Iterator[bytes]:
    """Decompressed pieces of all members of a gzip or bz2 file; zero padding after the last is ignored.

    Args:
        new_decoder: creates a decoder of one member.
        damage: exception that the decoder raises for damaged data.
    """
    decoder, start, text_bytes = new_decoder(), None, 0
    while data := bytes(stream.read(_READ_BYTES)):
        while data or not (decoder.needs_input or decoder.eof):
            if start is None:
                data = data.lstrip(b"\0")
                start, text_bytes = (stream.tell() - len(data), 0) if data else (None, 0)
                continue
            try:
                piece = decoder.decompress(data, piece_bytes)
            except damage as error:
                at = stream.tell()
                if isinstance(error, DamagedDataError):
                    yield from text_before_damage(stream, start, text_bytes)
                raise BrokenStreamError(f"{codec} data are damaged near byte {at}: {error}") from None
            yield piece
            text_bytes += len(piece)
            data = b""
            if decoder.eof:
                data, decoder, start = decoder.unused_data, new_decoder(), None
    if start is not None:
        raise BrokenStreamError(f"{codec} data end in the middle of a stream, at byte {stream.tell()}")


def _unzstd(stream: ByteStream) -> Iterator[bytes]:
    # Wrapped in a Python file: the decoder closes its input, but `stream` is still needed.
    source = WatchedFile(stream)
    decoded = pa.CompressedInputStream(source, "zstd")
    while True:
        try:
            piece = bytes(decoded.read(_ZSTD_PIECE_BYTES))
        except OSError as error:
            if source.error is not None:
                raise source.error from error
            if "too much memory" in str(error):
                raise BrokenStreamError(
                    "zstd data need more than 128 MiB of memory; compress them again with --long=27 or less"
                ) from None
            raise BrokenStreamError(
                f"zstd data are damaged or truncated near byte {stream.tell()}: {error}"
            ) from None
        if not piece:
            return
        yield piece


class WatchedFile:
    """File object for Arrow that stays open, and that distinguishes failed reads from damaged data."""

    closed = False

    def __init__(self, stream: ByteStream | pa.NativeFile) -> None:
        # Arrow reads a ByteStream only sequentially.
        self._stream: pa.NativeFile = stream
        self.error: Exception | None = None
        """Error of the last failed read."""

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def read(self, size: int = -1) -> bytes:
        """See io.RawIOBase."""
        try:
            return bytes(self._stream.read(None if size < 0 else size))
        except Exception as error:
            self.error = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """See io.RawIOBase."""
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        """See io.RawIOBase."""
        return int(self._stream.tell())

    def close(self) -> None:
        """Do nothing, so that the file stays open."""


@dataclass(frozen=True)
class Head:
    """The start of a file."""

    stored: bytes
    """The first 64 bytes as stored."""
    text: bytes
    """The first decompressed bytes."""
    complete: bool
    """Whether `text` is all of the file."""
    broken: str | None
    """The error of a damaged stream."""


def read_head(file: Location, size: int) -> Head:
    """The start of a file, with at most `size` bytes of text."""
    held, broken = b"", None
    with FileReader(file) as stream:
        stored = bytes(stream.read(_STORED_HEAD_BYTES))
        stream.seek(0)
        try:
            for piece in decompress(stream):
                held += piece
                if len(held) > size:
                    break
        except BrokenStreamError as error:
            broken = str(error)
    return Head(stored, held[:size], len(held) <= size and broken is None, broken)
