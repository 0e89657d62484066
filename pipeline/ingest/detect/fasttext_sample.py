"""Sample of fastText lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import InputError
from pipeline.ingest.detect.records import Sample
from pipeline.ingest.parse.fasttext import COLUMNS, is_fasttext, split_fasttext
from pipeline.ingest.parse.formats import Dialect
from pipeline.ingest.parse.records import BadRecordError
from pipeline.storage.location import Location

_MAX_MORE_LINES = 5000


def fasttext_sample(file: Location, lines: list[bytes], more: Sequence[bytes]) -> Sample | None:
    """Sample of lines that start with `__label__`; None if less than half of the lines do.

    Args:
        more: lines after those that decide the syntax.
    Raises:
        InputError: most lines have several labels.
    """
    labeled = [line for line in lines if is_fasttext(line)]
    if 2 * len(labeled) < len(lines) or not labeled:
        return None
    records = _split_lines(labeled)
    if 2 * len(records) < len(labeled):
        raise InputError(
            f"{file.uri}: fastText lines with several labels, or not in UTF-8; write one __label__ at"
            " the start of each line"
        )
    later = _split_lines(more[:_MAX_MORE_LINES])
    return Sample(Dialect("fasttext", columns=COLUMNS), records, more=tuple(later))


def _split_lines(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for line in lines:
        try:
            records.append(dict(zip(COLUMNS, split_fasttext(line), strict=True)))
        except (BadRecordError, UnicodeDecodeError):
            continue
    return records
