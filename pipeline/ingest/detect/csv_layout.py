"""Where the table of a CSV file starts: lines before the header, row numbers and trailing delimiters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.ingest.detect.records import join_names
from pipeline.ingest.detect.stars import suggests_rating
from pipeline.ingest.parse.stars import read_rating
from pipeline.ingest.read.csv_syntax import is_number

_MAX_PREAMBLE_RECORDS = 20
_EXAMINED_RECORDS = 300
"""Records after a possible header whose number of fields is compared with it."""

_REGULAR_FRAC = 0.9
"""Fraction of the records that must have the most frequent number of fields, if the first has another."""

_SEPARATOR = re.compile(rb'"?sep=(.)"?\r*\n', re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """Header of a table, and how its data differ from it."""

    header: int
    """Position of the header among the records."""
    names: tuple[str, ...]
    """Names of the columns, one for each field of a record."""
    note: str = ""
    """How the names differ from the header, as a clause."""
    warning: str = ""


def separator_line(text: bytes) -> tuple[bytes, int] | None:
    """Delimiter that Excel's first line `sep=;` names, and the bytes of that line; None without it."""
    found = _SEPARATOR.match(text)
    return (found[1], found.end()) if found else None


def find_layout(records: Sequence[Sequence[bytes]], are_known: Callable[[Sequence[str]], bool]) -> Layout:
    """Layout of a table with a header.

    Args:
        records: fields of the first records; an empty sequence for a blank line or a malformed record.
        are_known: whether names of columns are those that are looked for.
    """
    counts = [len(fields) for fields in records]
    header = _find_header(records, counts, are_known)
    names = _names(records[header])
    usual, frac = _usual(counts[header + 1 :])
    data = [fields for fields in records[header + 1 :] if len(fields) == usual]
    if frac < _REGULAR_FRAC or usual in (0, 1, len(names)) or usual > len(names) + 1:
        return Layout(header, _unique(names))
    lengths = f"records have {usual} fields, but the header has {len(names)}"
    if usual < len(names):
        empty = join_names(name for name in names[usual:] if name)
        warning = f"{lengths}; {empty} was taken as empty" if empty else ""
        return Layout(header, _unique(names[:usual]), warning=warning)
    if all(not fields[-1] for fields in data):
        return Layout(header, _unique([*names, ""]), "lines end with a delimiter")
    if not _are_row_names([fields[0] for fields in data]) or _has_split_text(data):
        return Layout(header, _unique(names))
    if _has_ratings(names, data) and not _has_ratings(["", *names], data):
        return Layout(
            header,
            _unique([*names, ""]),
            warning=f"{lengths}; the last field was taken as one without a name",
        )
    warning = f"{lengths}; the first field was taken as the name of the row"
    consecutive = _are_consecutive([fields[0] for fields in data])
    note = "a column of row names without a name in the header"
    return Layout(header, _unique(["", *names]), note, "" if consecutive else warning)


def _names(fields: Sequence[bytes]) -> list[str]:
    return [name.decode(errors="replace").strip() for name in fields]


def _find_header(
    records: Sequence[Sequence[bytes]], counts: list[int], are_known: Callable[[Sequence[str]], bool]
) -> int:
    """Position of the header: the first record, or the first regular one if what precedes it is shorter."""
    first = next((i for i, count in enumerate(counts) if count), 0)
    usual, _ = _usual(counts[first + 1 :])
    padded = _is_padded(records[first]) and not are_known(_names(records[first]))
    if counts[first] in (usual, usual - 1, usual + 1) and counts[first] > 1 and not padded:
        return first
    for i in range(first + 1, min(len(counts), first + 1 + _MAX_PREAMBLE_RECORDS)):
        if counts[i] < 2 or (padded and _is_padded(records[i])):
            continue
        regular, frac = _usual(counts[i + 1 : i + _EXAMINED_RECORDS])
        if counts[i] not in (regular, regular - 1) or frac < _REGULAR_FRAC:
            continue
        is_header = _are_names(records[i]) and (not padded or all(records[i]))
        before = [fields for fields in records[first:i] if len(fields) == regular]
        if is_header and all(padded and not fields[-1].strip() for fields in before):
            return i
    return first


def _is_padded(fields: Sequence[bytes]) -> bool:
    """Whether a record is a line of text to which a spreadsheet added delimiters, or has no text at all."""
    filled = sum(bool(field.strip()) for field in fields)
    return len(fields) > 1 and not fields[-1].strip() and (filled <= 1 or 2 * filled < len(fields))


def _usual(counts: Sequence[int]) -> tuple[int, float]:
    """The most frequent number of fields of records that are not empty, and the fraction that has it."""
    found = Counter(n for n in counts if n)
    if not found:
        return 0, 0.0
    usual, times = found.most_common(1)[0]
    return usual, times / found.total()


def _are_names(fields: Sequence[bytes]) -> bool:
    named = [f.strip() for f in fields if f.strip()]
    return len(named) > 1 and len(set(named)) == len(named) and not any(map(is_number, named))


def _has_ratings(names: Sequence[str], data: Sequence[Sequence[bytes]]) -> bool:
    """Whether the columns whose names suggest a rating have one in most records."""
    columns = [i for i, name in enumerate(names) if suggests_rating(name)]
    values = [fields[i].decode(errors="replace") for fields in data for i in columns]
    return bool(values) and 2 * sum(read_rating(v) is not None for v in values) > len(values)


def _are_row_names(values: Sequence[bytes]) -> bool:
    """Whether values can be row names: all different, and ascending if they are numbers."""
    if len(set(values)) < len(values):
        return False
    if not all(map(bytes.isdigit, values)):
        return not any(map(is_number, values))
    numbers = [int(v) for v in values]
    return numbers == sorted(numbers)


def _are_consecutive(values: Sequence[bytes]) -> bool:
    """Whether values are the numbers from 0 or 1 on."""
    first = values[0] if values else b""
    return first in (b"0", b"1") and list(values) == [
        b"%d" % n for n in range(int(first), int(first) + len(values))
    ]


def _has_split_text(data: Sequence[Sequence[bytes]]) -> bool:
    """Whether one column, unlike the others, usually starts with a blank, as after a comma in a text."""
    blank = [sum(f[i].startswith(b" ") for f in data) > len(data) / 2 for i in range(1, len(data[0]))]
    return any(blank) and not all(blank)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names, with one for each column that has none, or a number that another one has.

    Numbers are values of a record in a file without a header.
    """
    found: list[str] = []
    for number, name in enumerate(names, start=1):
        is_value = name in found and is_number(name.encode())
        made = f"{name}_{number}" if is_value else name or ("row" if number == 1 else f"column {number}")
        while (is_value or not name) and (made in names or made in found):
            made += "_"
        found.append(made)
    return tuple(found)
