"""Conversion of text in other encodings to UTF-8 as it is read, and of positions and bytes back.

A byte that is invalid in the encoding of the file becomes a surrogate, U+DC00 plus the byte, which is
not valid in UTF-8. So only its own record is rejected, and the original bytes can be restored.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from typing import NamedTuple

from pipeline.encodings import MULTIBYTE, is_single_byte
from pipeline.ingest.read.compression import BrokenStreamError

_INVALID = re.compile("([\udc00-\udcff]+)")
_INVALID_STARTS = (b"\xed\xb0", b"\xed\xb1", b"\xed\xb2", b"\xed\xb3")
_ASTRAL_STARTS = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")
_VARIANT_ENCODINGS = frozenset(("big5", "cp932", "cp950", "johab", "cp1006", "mac-arabic", "mac-farsi"))
"""Encodings in which some characters have several codes, all of the same length."""

_BLOCK_BYTES = 1 << 12
_SLACK_BYTES = 1 << 22

Variants = tuple[tuple[int, bytes], ...]
"""Characters whose code is not the one that Python encodes them to: position in the text, original bytes."""


@cache
def _error_handler() -> str:
    """Name of the handler that replaces invalid bytes by surrogates; registered on first use."""
    name = "rayview-keep-bytes"
    codecs.register_error(name, _keep_bytes)
    return name


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    # Elsewhere only one byte, so that a line end after half a character still ends the line.
    end = error.end if error.encoding.startswith("utf") else error.start + 1
    return _marked(error.object[error.start : end]), end


def _marked(invalid: bytes) -> str:
    return "".join(chr(0xDC00 + byte) for byte in invalid)


class _Decoder:
    """Incremental decoder that replaces invalid bytes as described above."""

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)(_error_handler())
        self._is_utf = encoding.startswith("utf")

    def decode(self, data: bytes) -> str:
        """Text of the next bytes, without half a character at the end."""
        return self._decoder.decode(data)

    @property
    def pending(self) -> bytes:
        """Bytes of half a character at the end."""
        return bytes(self._decoder.getstate()[0])

    def finish(self) -> str:
        """Text of the pending bytes, which no others follow."""
        if self._is_utf:
            return _marked(self.pending)
        # Python's multibyte decoders lose bytes if they are told that the data end here.
        parts = []
        while pending := self.pending:
            self._decoder.reset()
            parts += [_marked(pending[:1]), self._decoder.decode(pending[1:])]
        return "".join(parts)


def to_utf8(data: bytes, encoding: str, *, complete: bool = True) -> bytes:
    """Text in UTF-8, with invalid bytes replaced as described above.

    Args:
        complete: whether the data end with a character; if not, half a character at the end is dropped.
    """
    decoder = _Decoder(encoding)
    text = decoder.decode(data) + (decoder.finish() if complete else "")
    return text.encode("utf-8", "surrogatepass")


def _decoded(utf8: bytes) -> str:
    """Text of `to_utf8` as a string; half a character at the end is dropped."""
    try:
        return utf8.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return codecs.getincrementaldecoder("utf-8")("surrogatepass").decode(utf8)


def encoded(utf8: bytes, encoding: str) -> bytes:
    """The original bytes of text of `to_utf8`, except variants; half a character at the end is dropped."""
    parts = _INVALID.split(_decoded(utf8))
    return b"".join(
        bytes(ord(c) & 0xFF for c in part) if odd else part.encode(encoding)
        for part, odd in zip(parts, [False, True] * len(parts), strict=False)
    )


def encoded_length(utf8: bytes, encoding: str) -> int:
    """Number of original bytes of text of `to_utf8`."""
    if encoding in MULTIBYTE:
        return len(encoded(utf8, encoding))
    chars = len(_decoded(utf8))
    if is_single_byte(encoding):
        return chars
    invalid = sum(map(utf8.count, _INVALID_STARTS))
    if encoding.startswith("utf-32"):
        return 4 * (chars - invalid) + invalid
    return 2 * (chars - invalid + sum(map(utf8.count, _ASTRAL_STARTS))) + invalid


class _Piece(NamedTuple):
    """A piece of UTF-8 text and its position in both encodings."""

    start: int
    original_start: int
    text: bytes


class Transcoder:
    """Pieces of a stream in UTF-8; `take` tells how many original bytes a part of them is."""

    def __init__(self, pieces: Iterable[bytes], encoding: str, chunk_bytes: int) -> None:
        """Start before the first piece.

        Args:
            pieces: stream in the original encoding, without a byte order mark.
            chunk_bytes: size of the pieces in which the result is cut.
        """
        self._pieces, self._encoding = pieces, encoding
        self._kept_bytes = chunk_bytes + _SLACK_BYTES
        self._recent: deque[_Piece] = deque()
        self._variants: deque[tuple[int, bytes]] = deque()
        self._end = self._original_end = 0
        self._taken = self._original_taken = 0

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of text in UTF-8.

        Raises:
            BrokenStreamError: raised by the stream, after all text before it.
        """
        decoder = _Decoder(self._encoding)
        broken: BrokenStreamError | None = None
        iterator = iter(self._pieces)
        while True:
            try:
                data = next(iterator, None)
            except BrokenStreamError as error:
                broken, data = error, None
            source = decoder.pending + (data or b"")
            if data is None:
                break
            text = decoder.decode(data)
            yield self._log(text, source[: len(source) - len(decoder.pending)])
        yield self._log(decoder.finish(), source)
        if broken:
            raise broken

    def _log(self, text: str, source: bytes) -> bytes:
        """The text in UTF-8; remembers its position."""
        utf8 = text.encode("utf-8", "surrogatepass")
        if self._encoding in _VARIANT_ENCODINGS:
            self._variants.extend(_variants(text, source, self._encoding, self._end))
        self._recent.append(_Piece(self._end, self._original_end, utf8))
        self._end += len(utf8)
        self._original_end += len(source)
        while self._end - self._recent[0].start - len(self._recent[0].text) > self._kept_bytes + len(utf8):
            self._recent.popleft()
        return utf8

    def take(self, raw: bytes, skipped: int) -> tuple[int, Variants]:
        """Size of the next text in original bytes, and the variants in it.

        Args:
            raw: the text, from the end of what was taken before.
            skipped: bytes of UTF-8 after `raw` that belong to it.
        """
        start, self._taken = self._taken, self._taken + len(raw) + skipped
        if skipped or self._taken >= self._recent[0].start:
            size = self._original(self._taken) - self._original_taken
        else:
            size = encoded_length(raw, self._encoding)
        self._original_taken += size
        variants = []
        while self._variants and self._variants[0][0] < self._taken:
            at, own = self._variants.popleft()
            variants.append((at - start, own))
        return size, tuple(v for v in variants if v[0] < len(raw))

    def _original(self, end: int) -> int:
        """Original position of a recent position in the UTF-8 text."""
        piece = next(p for p in reversed(self._recent) if p.start <= end)
        return piece.original_start + encoded_length(piece.text[: end - piece.start], self._encoding)


def _variants(text: str, source: bytes, encoding: str, start: int) -> Iterator[tuple[int, bytes]]:
    if encoded(text.encode("utf-8", "surrogatepass"), encoding) == source:
        return
    for line, own in zip(text.split("\n"), source.split(b"\n"), strict=True):
        utf8 = line.encode("utf-8", "surrogatepass")
        if encoded(utf8, encoding) != own:
            at, position = 0, start
            for character in line:
                one = character.encode("utf-8", "surrogatepass")
                usual = encoded(one, encoding)
                if own[at : at + len(usual)] != usual:
                    yield position, own[at : at + len(usual)]
                at, position = at + len(usual), position + len(one)
        start += len(utf8) + 1


class OriginalBytes:
    """Positions and bytes of parts of a chunk in the encoding of its file."""

    def __init__(self, raw: bytes, encoding: str, variants: Variants) -> None:
        """Args as in Chunk: text in UTF-8, and its variants."""
        self._raw, self._encoding, self._variants = raw, encoding, variants

    @cached_property
    def _blocks(self) -> tuple[list[int], list[int]]:
        """Start of each block of about 4 KiB, in UTF-8 and in original bytes."""
        starts, originals, start, original = [0], [0], 0, 0
        while len(self._raw) - start > _BLOCK_BYTES:
            end = start + _BLOCK_BYTES
            while self._raw[end] & 0xC0 == 0x80:
                end -= 1
            original += encoded_length(self._raw[start:end], self._encoding)
            start = end
            starts.append(start)
            originals.append(original)
        return starts, originals

    def _position(self, at: int) -> int:
        starts, originals = self._blocks
        block = bisect_right(starts, at) - 1
        return originals[block] + encoded_length(self._raw[starts[block] : at], self._encoding)

    def span(self, start: int, end: int) -> tuple[int, bytes]:
        """Position in the chunk and content, both in original bytes, of a part in UTF-8."""
        content = bytearray(encoded(self._raw[start:end], self._encoding))
        first = self._position(start)
        low = bisect_right(self._variants, (start - 1, b"\xff" * 8))
        for at, own in self._variants[low:]:
            if at >= end:
                break
            where = self._position(at) - first
            content[where : where + len(own)] = own
        return first, bytes(content)
