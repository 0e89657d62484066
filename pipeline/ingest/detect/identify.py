"""Files that are not dumps: what they are, from their first bytes, and what to do."""

from __future__ import annotations

import re

from pipeline.errors import InputError, UnknownFormatError
from pipeline.ingest.detect.kinds.archives import archive_kind
from pipeline.ingest.detect.kinds.magic import binary_kind
from pipeline.ingest.detect.kinds.texts import text_kind
from pipeline.ingest.read.compression import Head, codec_of, read_head
from pipeline.storage.location import Location

_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"\xff\xfe", b"\xfe\xff")


def check_binary(file: Location, head: Head) -> None:
    """Raise InputError if the first bytes are those of a binary file of another kind than Parquet."""
    text, codec = head.text, codec_of(head.stored)
    if text and not text.strip(b"\0"):
        raise InputError(
            f"{file.uri}: starts with {len(text):,} NUL bytes, as an unfinished download does; download the"
            " file again"
        )
    if codec and (inner := codec_of(text, strict=True)):
        raise InputError(
            f"{file.uri}: compressed twice ({inner} data within {codec} data); decompress it once"
        )
    kind = archive_kind(text) or binary_kind(text)
    if kind:
        raise UnknownFormatError(f"{file.uri}: {_with_codec(kind, codec)}")


def check_text(file: Location, text: bytes, head: Head) -> None:
    """Raise InputError if a file is text of another kind than a dump.

    Args:
        text: first bytes of the file in UTF-8, without a byte order mark.
        head: the same as stored.
    """
    kind = text_kind(text, complete=head.complete)
    if kind:
        raise UnknownFormatError(f"{file.uri}: {_with_codec(kind, codec_of(head.stored))}")


def _with_codec(kind: str, codec: str | None) -> str:
    """The kind of a file, with its compression before the advice."""
    what, mark, advice = kind.partition(";")
    return f"{what} (compressed with {codec}){mark}{advice}" if codec else kind


def empty_reason(file: Location) -> str:
    """Why a file has no text."""
    head = read_head(file, 1 << 10)
    if head.broken:
        return head.broken
    if not head.stored:
        return "empty file"
    if not head.text:
        return f"empty: {codec_of(head.stored)} data of 0 bytes"
    only_mark = head.complete and head.text in _BYTE_ORDER_MARKS
    return "only a byte order mark" if only_mark else "only blank lines"


def check_line_ends(file: Location, text: bytes) -> None:
    """Raise InputError for lines that end with a carriage return only."""
    line = text.strip()
    if b"\n" not in line and re.search(rb"\r(?!$)", line):
        raise InputError(
            f"{file.uri}: lines end with a carriage return only; convert them with tr '\\r' '\\n'"
        )
