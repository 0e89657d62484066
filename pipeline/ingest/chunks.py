"""Cut a dump into line-aligned chunks: the unit of work and of commitment.

The only sequential part of reading a file is here: decompress, and cut at line ends. Where a chunk
begins depends on the bytes and `chunk_bytes` alone, so a second reading cuts the same chunks.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.objectstore import Reading
from pipeline.storage import Location

_READ_BYTES = 1 << 18
_PIECE_BYTES = 1 << 20
_ZSTD_PIECE_BYTES = 1 << 14
"""Small, because the piece in which a zstd stream breaks is lost."""


@dataclass(frozen=True)
class Chunk:
    """Some whole lines of one file."""

    file: int
    """Number of the file in the job's input, from 0."""
    source: str
    chunk: int
    """Number of the chunk in its file, from 0."""
    first_line: int
    """Number of its first line in the file, from 1."""
    byte_offset: int
    """Where it begins in the decompressed file."""
    lines: int
    last: bool
    """Whether the file ends with it."""
    broken: str | None
    """On the last chunk: why the stream could not be read to its end, if so."""
    bytes_read: int
    """Bytes of the stored file that were read up to its end, for progress."""
    raw: bytes


class BrokenStreamError(Exception):
    """A compressed stream that ends early or is damaged; what came before it has been handed on."""


def read_chunks(
    file: Location, number: int, chunk_bytes: int, *, max_lines: int | None = None, skip: Collection[int] = ()
) -> Iterator[Chunk]:
    """Read a file as chunks.

    Args:
        number: of the file in the job's input.
        chunk_bytes: text in a chunk; a longer line makes a longer chunk.
        max_lines: stop after so many lines.
        skip: chunk numbers that are done already; they are read over and not yielded.
    Yields:
        At least one chunk, empty where the file is; the last one has `last` set.
    Raises:
        InputError: the file cannot be read. Compressed data that break end in a chunk with `broken` set.
    """
    with file.open_input() as stream:
        for chunk in _with_last(_number(Reading(stream, file.uri), file.uri, number, chunk_bytes, max_lines)):
            if chunk.chunk not in skip:
                yield chunk


def _number(stream: Any, source: str, file: int, chunk_bytes: int, max_lines: int | None) -> Iterator[Chunk]:
    chunk = Chunk(file, source, 0, 1, 0, 0, False, None, 0, b"")
    try:
        for raw in cut_lines(decompress(stream), chunk_bytes):
            if max_lines is not None:
                raw = first_lines(raw, max_lines - chunk.first_line + 1)
            lines = count_lines(raw)
            chunk = replace(chunk, raw=raw, lines=lines, bytes_read=stream.tell())
            yield chunk
            chunk = replace(
                chunk,
                chunk=chunk.chunk + 1,
                first_line=chunk.first_line + lines,
                byte_offset=chunk.byte_offset + len(raw),
            )
            if max_lines is not None and chunk.first_line > max_lines:
                return
    except BrokenStreamError as error:
        yield replace(chunk, raw=b"", lines=0, broken=str(error), bytes_read=stream.tell())
    else:
        if chunk.chunk == 0:
            yield chunk


def _with_last(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Mark the last chunk, which is known only when no other follows."""
    held: Chunk | None = None
    for chunk in chunks:
        if held is not None:
            yield held
        held = chunk
    assert held is not None
    yield replace(held, last=True)


def cut_lines(pieces: Iterable[bytes], chunk_bytes: int) -> Iterator[bytes]:
    """Join pieces of a stream and cut them after the last line end in every `chunk_bytes` of it.

    A BrokenStreamError of `pieces` is passed on after all that came before it, a cut line included.
    """
    tail = b""
    broken: BrokenStreamError | None = None
    filled = _exact(pieces, chunk_bytes)
    while True:
        try:
            piece = next(filled, b"")
        except BrokenStreamError as error:
            broken, piece = error, b""
        if not piece:
            break
        # rfind in the new piece alone: a line of many chunks must not be searched over and over.
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield tail + piece[:cut]
            tail = piece[cut:]
        else:
            tail += piece
    if tail:
        yield tail
    if broken:
        raise broken


def _exact(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of `size`, the last one shorter; a break comes after what precedes it."""
    parts: list[bytes] = []
    held = 0
    broken: BrokenStreamError | None = None
    iterator = iter(pieces)
    while True:
        try:
            piece = next(iterator, None)
        except BrokenStreamError as error:
            broken, piece = error, None
        if piece is None:
            break
        parts.append(piece)
        held += len(piece)
        if held >= size:
            joined = b"".join(parts)
            full = len(joined) // size * size
            for start in range(0, full, size):
                yield joined[start : start + size]
            parts, held = [joined[full:]], len(joined) - full
    if held:
        yield b"".join(parts)
    if broken:
        raise broken


def decompress(stream: Any) -> Iterator[bytes]:
    """Decompressed pieces of an open file; how it is compressed is told from its first bytes.

    Raises:
        BrokenStreamError: the compressed data end early or are damaged, after the pieces before that.
    """
    head = bytes(stream.read(6))
    stream.seek(0)
    if head.startswith(b"\x1f\x8b"):
        from isal import igzip_lib

        new_gzip = partial(igzip_lib.IgzipDecompressor, flag=igzip_lib.DECOMP_GZIP)
        return _members(stream, "gzip", new_gzip, igzip_lib.IsalError)  # type: ignore[arg-type]
    if head.startswith(b"BZh"):
        return _members(stream, "bz2", bz2.BZ2Decompressor, OSError)
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _unzstd(stream)
    return iter(lambda: bytes(stream.read(_PIECE_BYTES)), b"")


def _members(
    stream: Any, codec: str, new_decoder: Callable[[], Any], damage: type[Exception]
) -> Iterator[bytes]:
    """Members of a gzip or bz2 file one after the other; zero padding after the last one is let pass.

    Args:
        new_decoder: of one member; as the standard library's BZ2Decompressor.
        damage: what it raises.
    """
    decoder, begun = new_decoder(), False
    while data := bytes(stream.read(_READ_BYTES)):
        while data or not (decoder.needs_input or decoder.eof):
            if not begun:
                data = data.lstrip(b"\0")
                begun = bool(data)
                continue
            try:
                piece = decoder.decompress(data, _PIECE_BYTES)
            except damage as error:
                raise BrokenStreamError(
                    f"{codec} data are damaged near byte {stream.tell()}: {error}"
                ) from None
            yield piece
            data = b""
            if decoder.eof:
                data, decoder, begun = decoder.unused_data, new_decoder(), False
    if begun:
        raise BrokenStreamError(f"{codec} data end in the middle of a stream, at byte {stream.tell()}")


def _unzstd(stream: Any) -> Iterator[bytes]:
    import pyarrow as pa

    # Through a Python file: the decoder closes what it reads from, and `stream` is still needed.
    source = _Unclosed(stream)
    decoded = pa.CompressedInputStream(source, "zstd")
    while True:
        try:
            piece = bytes(decoded.read(_ZSTD_PIECE_BYTES))
        except OSError as error:
            if source.error is not None:
                raise source.error from None
            raise BrokenStreamError(f"zstd data are damaged or cut short: {error}") from None
        if not piece:
            return
        yield piece


class _Unclosed:
    """An open file that stays open, and that tells a failed read from damaged data."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except OSError as error:
            self.error = error
            raise

    def close(self) -> None:
        pass


def count_lines(raw: bytes) -> int:
    """Lines in some text, an unfinished one at its end included."""
    return raw.count(b"\n") + (bool(raw) and not raw.endswith(b"\n"))


def first_lines(raw: bytes, most: int) -> bytes:
    """The first lines of some text, at most so many."""
    if count_lines(raw) <= most:
        return raw
    end = -1
    for _ in range(most):
        end = raw.index(b"\n", end + 1)
    return raw[: end + 1]


def head_bytes(file: Location, size: int) -> bytes:
    """The first decompressed bytes of a file, at most `size`; fewer where it ends or breaks before."""
    held = b""
    with file.open_input() as stream:
        try:
            for piece in decompress(Reading(stream, file.uri)):
                held += piece
                if len(held) >= size:
                    break
        except BrokenStreamError:
            pass
    return held[:size]
