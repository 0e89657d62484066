"""Encoding of a text file: by its byte order mark, by its NUL bytes, or guessed if it is not UTF-8."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.ingest.detect.guess import guess_encoding
from pipeline.ingest.read.transcode import encoded_length, to_utf8
from pipeline.storage.location import Location

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
"""(byte order mark, encoding); UTF-32 first, because its mark starts with that of UTF-16."""

_INVALID = re.compile("[\udc00-\udcff]")
_INVALID_LETTER = re.compile("[\udc80-\udcfd]")
"""An invalid byte other than FE and FF, which are rare in texts but common in damaged ones."""


@dataclass(frozen=True)
class FoundEncoding:
    """Encoding of a file, and how it was found."""

    encoding: str | None = None
    """None for UTF-8."""
    mark_bytes: int = 0
    """Size of the byte order mark."""
    notes: tuple[str, ...] = ()
    """See Sample."""
    warnings: tuple[str, ...] = ()
    """See Sample."""

    def text(self, head: bytes, *, complete: bool) -> bytes:
        """The start of the file in UTF-8, without the byte order mark.

        Args:
            head: the first bytes of the file.
            complete: whether they are the whole file.
        """
        head = head[self.mark_bytes :]
        return to_utf8(head, self.encoding, complete=complete) if self.encoding else head

    def size_of(self, text: bytes) -> int:
        """Bytes that a text in UTF-8 has in the file."""
        return encoded_length(text, self.encoding) if self.encoding else len(text)


def find_encoding(file: Location, head: bytes, configured: str | None) -> FoundEncoding:
    """Encoding of a text file.

    Without a setting, a byte order mark decides, then NUL bytes at every other place (UTF-16, UTF-32). For
    text that is not valid UTF-8, see `_is_other_encoding`: damaged UTF-8 stays UTF-8, so that its bad records
    are rejected; otherwise the encoding is guessed, with a warning.

    Args:
        head: the first bytes of the file.
        configured: `input.encoding`.
    Raises:
        InputError: the setting contradicts the byte order mark, or the encoding is not recognized.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return _of_mark(file, len(mark), encoding, configured)
    if configured is not None:
        return _of_setting(head, configured)
    wide = _wide_encoding(head)
    if wide is not None:
        return FoundEncoding(wide, notes=(f"encoding {wide}, without a byte order mark",))
    nulls = head.count(b"\0")
    if nulls > len(head) // 4:
        raise InputError(
            f"{file.uri}: {nulls:,} of the first {len(head):,} bytes are NUL; neither UTF-8 nor UTF-16 text,"
            " but an unfinished download or a binary file"
        )
    if not _is_other_encoding(head):
        return FoundEncoding()
    guess = guess_encoding(head)
    if guess is None:
        raise InputError(
            f"{file.uri}: not valid UTF-8, and its encoding is not recognized; name it, for example with"
            " --set input.encoding=cp1252"
        )
    return FoundEncoding(
        guess, warnings=(f"encoding: {guess} (guessed); set input.encoding=… if texts look wrong",)
    )


def _of_mark(file: Location, size: int, encoding: str, configured: str | None) -> FoundEncoding:
    if configured not in (None, encoding, encoding[: len("utf-16")]):
        raise InputError(
            f"{file.uri}: starts with the byte order mark of {encoding}, but input.encoding={configured};"
            " omit the setting"
        )
    if encoding == "utf-8":
        return FoundEncoding(None, size)
    return FoundEncoding(encoding, size, notes=(f"encoding {encoding}",))


def _of_setting(head: bytes, configured: str) -> FoundEncoding:
    if configured == "utf-8":
        return FoundEncoding()
    encoding = configured
    if configured in ("utf-16", "utf-32"):
        found = _wide_encoding(head)
        encoding = found if found and found.startswith(configured) else f"{configured}-le"
    warnings: tuple[str, ...] = ()
    if not head.isascii() and _is_utf8(head):
        warnings = (
            f"input.encoding={configured}, but the first lines are valid UTF-8; texts may be garbled",
        )
    return FoundEncoding(encoding, notes=(f"encoding {encoding}",), warnings=warnings)


def _is_utf8(head: bytes) -> bool:
    return not _INVALID.search(to_utf8(head, "utf-8", complete=False).decode("utf-8", "surrogatepass"))


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark: their ASCII characters have NUL bytes, all at one place."""
    nulls = head.count(b"\0")
    if not nulls or len(head) < 4:
        return None
    even, odd = (head[start::2].count(b"\0") for start in (0, 1))
    order = "le" if odd > even else "be"
    if 2 * nulls >= len(head):
        for encoding in ("utf-32-le", "utf-32-be"):
            if _fits(head, encoding):
                return encoding
    # Below a quarter, only text that is not UTF-8 anyway: mostly characters other than ASCII.
    is_likely = 4 * nulls > len(head) or (200 * nulls > len(head) and not _is_utf8(head))
    if is_likely and 20 * min(even, odd) <= max(even, odd) and _fits(head, f"utf-16-{order}"):
        return f"utf-16-{order}"
    return None


def _fits(head: bytes, encoding: str) -> bool:
    """Whether at most 1% of the bytes are invalid, and the text has lines."""
    text = to_utf8(head, encoding, complete=False).decode("utf-8", "surrogatepass")
    return 100 * len(_INVALID.findall(text)) <= len(head) and ("\n" in text or len(text) < 1000)


def _is_other_encoding(head: bytes) -> bool:
    """Whether text is in another encoding than UTF-8, and not UTF-8 with damaged lines.

    It is if it has more than two invalid bytes for each valid character that is not ASCII, and if at least
    three lines (of a very short text, half of them) have an invalid byte other than FE and FF.
    """
    if head.isascii() or _is_utf8(head):
        return False
    text = to_utf8(head, "utf-8", complete=False).decode("utf-8", "surrogatepass")
    invalid = len(_INVALID.findall(text))
    valid = sum(not c.isascii() for c in text) - invalid
    lines = [line for line in text.split("\n") if line.strip()]
    damaged = sum(1 for line in lines if _INVALID_LETTER.search(line))
    return invalid > 2 * valid and damaged >= min(3, max(1, len(lines) // 2))
