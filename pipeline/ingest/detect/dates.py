"""Dates of a file: the order of day and month, and reports of values that are not dates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pipeline.errors import InputError
from pipeline.humanize import printable
from pipeline.ingest.parse.columns import Value, time_array
from pipeline.ingest.parse.dates import day_first

_MAX_SHOWN_CHARS = 40
_1973_MS = 1e11


def day_order(values: Iterable[object]) -> bool | None:
    """Whether the day is first in dates such as 03/05/2012; None if no value tells, or they disagree."""
    orders = {order for value in values if (order := day_first(value)) is not None}
    return orders.pop() if len(orders) == 1 else None


def date_warnings(column: str, values: Iterable[object]) -> list[str]:
    """Sentences about values that are not dates, or probably other dates than they are read as.

    Args:
        values: of the time field in the first records.
    """
    dates = _present(values)
    bad = _not_dates(dates, order=day_order(dates))
    warnings = []
    if bad:
        unclear = [v for v in bad if not _not_dates([v], order=True)]
        why = ""
        if len(unclear) == len(bad):
            why = "; the order of day and month is not clear: write them as YYYY-MM-DD"
        warnings.append(f"{column}: {_share(bad, dates)} are not dates, for example {_shown(bad[0])}{why}")
    early = [v for v in dates if _is_small_number(v)]
    if 2 * len(early) > len(dates):
        warnings.append(
            f"{column}: {_share(early, dates)} are read as seconds since 1970, but are too small for it, for"
            f" example {_shown(early[0])}"
        )
    return warnings


def check_dates(uri: str, column: str | None, values: Iterable[object], fields: Collection[str]) -> None:
    """Raise InputError if a file has no dates, but a job needs them.

    Args:
        column: name of the time field; None if it is not known.
        values: of this field in the first records.
        fields: names of all fields of these records.
    """
    if column is None or column not in fields:
        raise InputError(
            f"{uri}: split.by=time, but no line has a date in a known field; name its column with"
            " --set input.timestamp=…, or use another split.by"
        )
    dates = _present(values)
    bad = _not_dates(dates, order=day_order(dates))
    if dates and len(bad) == len(dates):
        raise InputError(
            f"{uri}: split.by=time, but no value of {column} in the first lines is a date, for example"
            f" {_shown(bad[0])}; write them as YYYY-MM-DD, or use another split.by"
        )


def _present(values: Iterable[object]) -> list[Value]:
    return [
        v for v in values if isinstance(v, (str, int, float)) and not (isinstance(v, str) and not v.strip())
    ]


def _not_dates(dates: Sequence[Value], *, order: bool | None) -> list[Value]:
    is_null = time_array(list(dates), day_first=order).is_null().to_pylist()
    return [v for v, null in zip(dates, is_null, strict=True) if null]


def _is_small_number(value: Value) -> bool:
    """Whether a value is a number that would be a time in the first years after 1970, such as a year."""
    try:
        number = float(value or 0)
    except ValueError:
        return False
    (ms,) = time_array([value]).cast("int64").to_pylist()
    return number != 0 and ms is not None and abs(ms) < _1973_MS


def _share(some: Sequence[Value], of: Sequence[Value]) -> str:
    return f"{len(some):,} of {len(of):,} values of the first lines"


def _shown(value: Value) -> str:
    return repr(printable(str(value), _MAX_SHOWN_CHARS, ellipsis="…"))
