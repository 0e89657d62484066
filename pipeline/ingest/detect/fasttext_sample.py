"""Sample of fastText lines."""

from __future__ import annotations

from typing import Any

from pipeline.errors import InputError
from pipeline.ingest.detect.records import Sample
from pipeline.ingest.parse.fasttext import COLUMNS, is_fasttext, split_fasttext
from pipeline.ingest.parse.formats import Dialect
from pipeline.ingest.parse.records import BadRecordError
from pipeline.storage.location import Location


def fasttext_sample(file: Location, lines: list[bytes], start: int) -> Sample | None:
    """Sample of lines that start with `__label__`; None if less than half of the lines do.

    Raises:
        InputError: most lines have several labels.
    """
    labeled = [line for line in lines if is_fasttext(line)]
    if 2 * len(labeled) < len(lines) or not labeled:
        return None
    records: list[dict[str, Any]] = []
    for line in labeled:
        try:
            records.append(dict(zip(COLUMNS, split_fasttext(line), strict=True)))
        except (BadRecordError, UnicodeDecodeError):
            continue
    if 2 * len(records) < len(labeled):
        raise InputError(
            f"{file.uri}: fastText lines with several labels, or not in UTF-8; write one __label__ at"
            " the start of each line"
        )
    return Sample(Dialect("fasttext", start, COLUMNS), records)
