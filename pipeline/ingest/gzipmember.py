"""One member of a gzip file, unpacked by ISA-L, with all its text handed on before its checksum is judged.

ISA-L's own reader of whole members raises where the checksum is wrong, and the last text is lost with it.
"""

from __future__ import annotations

GZIP_MAGIC = b"\x1f\x8b"

_FHCRC, _FEXTRA, _FNAME, _FCOMMENT = 2, 4, 8, 16
_FIXED_BYTES = 10
_LONGEST_HEADER_BYTES = 1 << 20
_TRAILER_BYTES = 8


class GzipMember:
    """A decoder of one member; as the standard library's BZ2Decompressor.

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
        """Whether the member has ended, its checksum included."""
        self.unused_data = b""
        """What follows it."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes of a call without data."""
        if self._head is not None:
            return True
        return len(self._tail) < _TRAILER_BYTES if self._inflate.eof else bool(self._inflate.needs_input)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next text, at most `max_length` bytes.

        Raises:
            ValueError: the data are damaged; once all text is handed on, the checksum or the length is wrong.
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
            raise ValueError(str(error)) from None
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
            raise ValueError("the checksum is wrong, so some of the text before it may be, too")
        if length != self._text_bytes % 2**32:
            raise ValueError("the length is wrong")
        self.eof, self.unused_data = True, self._tail[_TRAILER_BYTES:]


def _header_bytes(head: bytes) -> int | None:
    """The size of a member's header; None where more of it is to come.

    Raises:
        ValueError: it is none.
    """
    if not GZIP_MAGIC.startswith(head[:2]) or (len(head) > 2 and head[2] != 8):
        raise ValueError("what follows is no gzip data")
    if len(head) > _LONGEST_HEADER_BYTES:
        raise ValueError("its header has no end")
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
