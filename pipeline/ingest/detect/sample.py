"""Sample of the first records of a file, and the dialect in which most of its first lines are written."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.csv_sample import csv_sample
from pipeline.ingest.detect.elements_sample import elements_sample
from pipeline.ingest.detect.fasttext_sample import fasttext_sample
from pipeline.ingest.detect.identify import check_line_ends, check_supported
from pipeline.ingest.detect.json_sample import check_not_json, object_sample
from pipeline.ingest.detect.records import SAMPLE_RECORDS, Sample
from pipeline.ingest.parse.formats import CARRIED_FIELDS, FORMATS, Dialect
from pipeline.ingest.parse.parquet import read_parquet_head
from pipeline.ingest.read.compression import BrokenStreamError, decompress, head_of
from pipeline.storage.location import Location
from pipeline.storage.readahead import FileReader

_SAMPLE_BYTES = 1 << 18
_LONG_SAMPLE_BYTES = 1 << 24
_MAX_FIRST_LINE_BYTES = 1 << 30
_PARQUET_MAGIC = b"PAR1"
_UTF8_BOM = b"\xef\xbb\xbf"


def read_sample(file: Location, config: InputConfig) -> Sample | None:
    """The first records of a file; None if the file has no text.

    Raises:
        InputError: the records are in no supported syntax; the message says what to do.
    """
    head, _ = head_of(file, _SAMPLE_BYTES)
    check_supported(file, head)
    if head.startswith(_PARQUET_MAGIC):
        return _parquet_sample(file, config)
    start = len(_UTF8_BOM) if head.startswith(_UTF8_BOM) else 0
    text = head[start:]
    has_long_first_line = len(head) >= _SAMPLE_BYTES and b"\n" not in text.strip()
    if not has_long_first_line:
        check_line_ends(file, text)
    if elements := elements_sample(file, text, start, config):
        return elements
    if has_long_first_line:
        if elements := _long_elements_sample(file, start, config):
            return elements
        # The lines after one unusually long line may be readable.
        text = _lines_after_first(file) or head_of(file, _LONG_SAMPLE_BYTES)[0]
        check_line_ends(file, text)
    elif len(head) >= _SAMPLE_BYTES:
        # The sample may end within a line, which is excluded.
        text = text[: text.rfind(b"\n") + 1]
    first_lines = [line for line in text.split(b"\n") if line.strip()][:SAMPLE_RECORDS]
    if not first_lines:
        return None
    sample = object_sample(first_lines, start)
    if sample is None and len(head) >= _SAMPLE_BYTES:
        sample = _long_elements_sample(file, start, config)
    if sample is not None:
        return sample
    if fasttext := fasttext_sample(file, first_lines, start):
        return fasttext
    check_not_json(file, first_lines[0])
    if has_long_first_line:
        raise InputError(
            f"{file.uri}: the first line, longer than {_SAMPLE_BYTES:,} bytes, is not a JSON object, nor are"
            " the lines after it"
        )
    return csv_sample(file, text, start, config)


def _long_elements_sample(file: Location, start: int, config: InputConfig) -> Sample | None:
    """See `elements_sample`; for a file whose first object may be long."""
    head, _ = head_of(file, _LONG_SAMPLE_BYTES)
    return elements_sample(file, head[start:], start, config)


def _lines_after_first(file: Location) -> bytes:
    """Complete lines after the first, which is not kept in memory; empty if the first line does not end."""
    kept, found_end, passed_bytes = b"", False, 0
    with FileReader(file) as stream, suppress(BrokenStreamError):
        for piece in decompress(stream):
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
    stars = {config.stars or "", *(f.stars for f in FORMATS)}
    names, records = read_parquet_head(file, stars, SAMPLE_RECORDS)
    configured = (*(config.text or ()), *(getattr(config, n) for n in CARRIED_FIELDS))
    used = {*stars, *configured, *(name for f in FORMATS for name in f.fields())}
    for name, count in Counter(names).items():
        if count > 1 and name in used:
            raise InputError(
                f"{file.uri}: two columns are named {name!r}; rewrite the file with unique column names"
            )
    nulls = dict.fromkeys(names)
    return Sample(Dialect("parquet", columns=tuple(names)), [nulls | r for r in records] or [nulls])
