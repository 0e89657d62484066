"""Parsing of fastText lines: `__label__2 text of the review`."""

from __future__ import annotations

import re

import pyarrow as pa

from pipeline.ingest.parse.columns import join_texts, row_table
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Format, ParseOptions
from pipeline.ingest.parse.records import BadRecordError, chunk_lines, decode_each
from pipeline.ingest.parse.rejects import Reason, RejectedLine
from pipeline.ingest.read.chunks import Chunk

COLUMNS = ("label", "text")
"""Names of the two parts of a line."""

_LABEL = b"__label__"
_LINE = re.compile(rb"__label__(\S+)(?:\s+(.*))?", re.DOTALL)
_OTHER_LABEL = re.compile(rb"(?:^|\s)__label__\S")


def split_fasttext(line: bytes) -> tuple[str, str | None]:
    """Label and text of a line; no text is None.

    Raises:
        BadRecordError: the line has no label at its start, or several labels.
        UnicodeDecodeError: the line is not valid UTF-8.
    """
    stripped = line.strip()
    if not stripped:
        raise BadRecordError(Reason.EMPTY_LINE, "")
    found = _LINE.fullmatch(stripped)
    if found is None:
        raise BadRecordError(Reason.BAD_FASTTEXT, "no __label__ at the start")
    label, text = found.groups()
    if text and _OTHER_LABEL.search(text):
        raise BadRecordError(Reason.BAD_FASTTEXT, "several labels")
    return label.decode(), text.decode() if text else None


def is_fasttext(line: bytes) -> bool:
    """Whether a line starts with a label."""
    return line.lstrip().startswith(_LABEL)


def parse_fasttext(chunk: Chunk, fmt: Format, options: ParseOptions) -> tuple[pa.Table, list[RejectedLine]]:
    """Parsed lines of a chunk, and its rejected lines.

    Returns:
        A table with the schema columns.ROW_SCHEMA, and the rejected lines. Every line is in exactly one of
        them.
    """
    rows, numbers, rejected = decode_each(chunk_lines(chunk), split_fasttext, options.limits.max_line_bytes)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
    nulls: list[str | None] = [None] * len(rows)
    parts = [pa.array(columns[name], pa.string()) for name in fmt.text if name in columns]
    text = join_texts(parts or [pa.array(nulls, pa.string())], options.separator, options.null_values)
    values = {n: columns.get(getattr(fmt, n) or "", nulls) for n in (*CARRIED_FIELDS, "stars")}
    return row_table(numbers, text, fmt, options, **values), rejected
