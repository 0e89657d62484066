"""Sample of the first records of a file, and the dialect in which most of its first lines are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.csv_sample import csv_sample
from pipeline.ingest.detect.elements_sample import elements_sample
from pipeline.ingest.detect.encoding import FoundEncoding, find_encoding
from pipeline.ingest.detect.fasttext_sample import fasttext_sample
from pipeline.ingest.detect.identify import check_binary, check_line_ends, check_text
from pipeline.ingest.detect.json_sample import check_not_json, object_sample
from pipeline.ingest.detect.records import SAMPLE_RECORDS, Sample
from pipeline.ingest.detect.stars import suggests_rating
from pipeline.ingest.parse.formats import CARRIED_FIELDS, FORMATS, Dialect
from pipeline.ingest.parse.parquet import read_parquet_head
from pipeline.ingest.read.compression import BrokenStreamError, decompress, read_head
from pipeline.ingest.read.transcode import Transcoder
from pipeline.storage.location import Location
from pipeline.storage.readahead import FileReader

_SAMPLE_BYTES = 1 << 18
_LONG_SAMPLE_BYTES = 1 << 24
_MAX_PARQUET_ROWS = 5000
_MAX_FIRST_LINE_BYTES = 1 << 30
_PARQUET_MAGIC = b"PAR1"


def read_sample(file: Location, config: InputConfig) -> Sample | None:
    """The first records of a file; None if the file has no text.

    Raises:
        InputError: the records are in no supported syntax; the message says what to do.
    """
    start_of_file = read_head(file, _SAMPLE_BYTES)
    head = start_of_file.text
    check_binary(file, start_of_file)
    if head.startswith(_PARQUET_MAGIC):
        return _parquet_sample(file, config)
    found = find_encoding(file, head, config.encoding)
    text = found.text(head, complete=start_of_file.complete)
    check_text(file, text, start_of_file)
    sampled = _text_sample(file, text, found, config, is_cut=len(head) >= _SAMPLE_BYTES)
    if sampled is None:
        return None
    sample, text = sampled
    start = found.mark_bytes + found.size_of(text[: sample.dialect.start_bytes])
    return replace(
        sample,
        dialect=replace(sample.dialect, start_bytes=start, encoding=found.encoding),
        notes=(*sample.notes, *found.notes),
        warnings=(*sample.warnings, *found.warnings),
    )


def _text_sample(
    file: Location, text: bytes, found: FoundEncoding, config: InputConfig, *, is_cut: bool
) -> tuple[Sample, bytes] | None:
    """Sample of text in UTF-8, and the text in which its `start_bytes` count; None if it is blank.

    Args:
        text: start of the file.
        is_cut: whether the file may go on after it.
    """
    has_long_first_line = is_cut and b"\n" not in text.strip()
    if not has_long_first_line:
        check_line_ends(file, text)
    if elements := elements_sample(file, text, config):
        return elements, text
    long_text = _long_text(file, found) if has_long_first_line else b""
    if long_text and (elements := elements_sample(file, long_text, config)):
        return elements, long_text
    if has_long_first_line:
        # The lines after one unusually long line may be readable.
        text = _lines_after_first(file, found) or long_text
        check_line_ends(file, text)
    elif is_cut:
        # The sample may end within a line, which is excluded.
        text = text[: text.rfind(b"\n") + 1]
    lines = [line for line in text.split(b"\n") if line.strip()]
    if not lines:
        return None
    first_lines, more = lines[:SAMPLE_RECORDS], lines[SAMPLE_RECORDS:]
    sample = object_sample(first_lines, more)
    if sample is not None:
        return sample, text
    if is_cut and not long_text:
        # The first object may be longer than the sample.
        long_text = _long_text(file, found)
        if elements := elements_sample(file, long_text, config):
            return elements, long_text
    if fasttext := fasttext_sample(file, first_lines, more):
        return fasttext, text
    check_not_json(file, first_lines[0])
    if has_long_first_line:
        raise InputError(
            f"{file.uri}: the first line, longer than {_SAMPLE_BYTES:,} bytes, is not a JSON object, nor are"
            " the lines after it"
        )
    return csv_sample(file, text, 0, config), text


def _long_text(file: Location, found: FoundEncoding) -> bytes:
    """The start of a file whose first object may be long."""
    head = read_head(file, _LONG_SAMPLE_BYTES)
    return found.text(head.text, complete=head.complete)


def _lines_after_first(file: Location, found: FoundEncoding) -> bytes:
    """Complete lines after the first, which is not kept in memory; empty if the first line does not end."""
    kept, found_end, passed_bytes = b"", False, 0
    with FileReader(file) as stream, suppress(BrokenStreamError):
        pieces: Iterable[bytes] = decompress(stream)
        if found.encoding:
            pieces = Transcoder(pieces, found.encoding, _SAMPLE_BYTES)
        for piece in pieces:
            if not found_end:
                passed_bytes += len(piece)
                end = piece.find(b"\n") + 1
                found_end, piece = bool(end), piece[end:]
            if found_end:
                kept += piece
            if len(kept) >= _SAMPLE_BYTES or passed_bytes >= _MAX_FIRST_LINE_BYTES:
                break
    return kept[: kept.rfind(b"\n") + 1]


def _parquet_sample(file: Location, config: InputConfig) -> Sample:
    configured = (*(config.text or ()), *(getattr(config, n) for n in ("stars", *CARRIED_FIELDS)))
    used = {*configured, *(name for f in FORMATS for name in f.fields())}
    names, records = read_parquet_head(file, lambda n: n in used or suggests_rating(n), _MAX_PARQUET_ROWS)
    for name, count in Counter(names).items():
        if count > 1 and name in used:
            raise InputError(
                f"{file.uri}: two columns are named {name!r}; rewrite the file with unique column names"
            )
    nulls = dict.fromkeys(names)
    dialect = Dialect("parquet", columns=tuple(names))
    first = [nulls | r for r in records[:SAMPLE_RECORDS]] or [nulls]
    return Sample(dialect, first, more=tuple(records[SAMPLE_RECORDS:]))
