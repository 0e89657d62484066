"""Files that are not dumps, recognized by their first bytes."""

from __future__ import annotations

import re

from pipeline.errors import InputError
from pipeline.storage.location import Location

_UNSUPPORTED = {
    b"\xfd7zXZ\x00": "xz-compressed; decompress it, or compress it as .gz or .zst",
    b"PK\x03\x04": "a zip archive; extract it",
    b"\xff\xfe\0\0": "UTF-32 text; convert it to UTF-8",
    b"\0\0\xfe\xff": "UTF-32 text; convert it to UTF-8",
    b"\xff\xfe": "UTF-16 text; convert it to UTF-8",
    b"\xfe\xff": "UTF-16 text; convert it to UTF-8",
}
"""Magic numbers of unsupported files, and the remedy for each."""


_MARKUP_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?!!doctype|html)(?:\?xml|[a-z_][\w.-]*[\s>])", re.IGNORECASE
)
_BLITZER_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*<review>\s*<unique_id>")


def check_supported(file: Location, head: bytes) -> None:
    """Raise InputError if the first decompressed bytes are those of an unsupported kind of file."""
    for magic, advice in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise InputError(f"{file.uri}: {advice}")
    if _BLITZER_START.match(head):
        raise InputError(
            f"{file.uri}: <review> elements as in Blitzer's sentiment data, which are not valid XML; write"
            " each as a JSON line with its rating and review_text, and read these with --set"
            " input.text=review_text,input.stars=rating"
        )
    if _MARKUP_START.match(head):
        raise InputError(
            f"{file.uri}: XML; convert it to JSON lines, for example with"
            " pandas.read_xml(…).to_json(…, orient='records', lines=True)"
        )


def check_line_ends(file: Location, text: bytes) -> None:
    """Raise InputError for UTF-16 or UTF-32 text, and for lines that end with a carriage return only."""
    if text.count(b"\0") > len(text) // 4:
        raise InputError(f"{file.uri}: looks like UTF-16 or UTF-32 text; convert it to UTF-8")
    line = text.strip()
    if b"\n" not in line and re.search(rb"\r(?!$)", line):
        raise InputError(
            f"{file.uri}: lines end with a carriage return only; convert them with tr '\\r' '\\n'"
        )
