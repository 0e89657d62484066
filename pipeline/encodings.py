"""Text encodings that an input can have: Python codecs in which every character has its own bytes."""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
from functools import cache

MULTIBYTE = frozenset(
    ("big5", "cp932", "cp949", "cp950", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "johab", "shift_jis")
)
"""Encodings with characters of one to four bytes; ASCII characters have their own byte."""

_UNICODE = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_STATEFUL = (
    "utf-7",
    "hz",
    "iso2022",
    "idna",
    "punycode",
    "unicode_escape",
    "raw_unicode_escape",
    "undefined",
)
_COMBINING = ("euc_jis", "shift_jis_2004", "shift_jisx0213", "big5hkscs")
"""Encodings in which one code can be two characters, so that positions in the file would be ambiguous."""


def encoding_name(name: str) -> str:
    """Python's name of a text encoding, such as `cp1252` for `windows-1252`.

    Raises:
        ValueError: the encoding is unknown, or is not supported.
    """
    try:
        found = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        known = ["utf-8", "utf-16", "latin-1", *_alias_names()]
        close = difflib.get_close_matches(name.strip().lower().replace("-", "_"), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "for example utf-16, cp1252 or shift_jis"
        raise ValueError(f"unknown encoding; {hint}") from None
    if found == "utf-8-sig":
        return "utf-8"
    if found not in _UNICODE and found not in MULTIBYTE and not is_single_byte(found):
        raise ValueError(f"not supported; convert the file with iconv -f {found} -t utf-8")
    return found


@cache
def is_single_byte(name: str) -> bool:
    """Whether every character of an encoding is one byte."""
    if name in _UNICODE or name.startswith((*_STATEFUL, *_COMBINING)):
        return False
    try:
        return len(bytes(range(256)).decode(name, "replace")) == 256
    except (LookupError, UnicodeError):
        # A codec of bytes instead of text.
        return False


def _alias_names() -> list[str]:
    names = encodings.aliases.aliases
    return sorted({*names, *names.values()} - {"mbcs", "oem"})
