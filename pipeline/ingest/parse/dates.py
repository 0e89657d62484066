"""Dates in the spellings that dumps contain, as milliseconds since 1970 (UTC)."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache

_MAX_CHARS = 100
_CACHED_TEXTS = 1 << 16
_1970 = datetime(1970, 1, 1, tzinfo=timezone.utc)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4}|\d{2})"
_WEEKDAY = r"(?:(?:mon|tue|tues|wed|wednes|thu|thur|thurs|fri|sat|satur|sun)(?:day)?\.?,?\s+)?"
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?:\s*(?P<half>[ap])\.?m\.?)?"
)
_ZONE = r"(?:\s*(?P<zone>z|utc|gmt|[+-]\d{2}(?::?\d{2})?))?"
_TIME = rf"(?:(?:\s*,\s*|\s+at\s+|\s+|t|\s*-\s+){_CLOCK}{_ZONE})?"
# Amazon pages: "Reviewed in the United States on May 3, 2012".
_PREFIX = r"(?:(?:reviewed|posted|written)\b.{0,50}?\son\s+|on\s+)?"

_SPELLINGS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<year>\d{{4}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}}){_TIME}",
        rf"{_PREFIX}{_WEEKDAY}{_MONTH}\s*{_DAY}(?:\s*,\s*|\s+){_YEAR}{_TIME}",
        rf"{_PREFIX}{_WEEKDAY}{_DAY}(?:\s+of)?(?P<mark>[\s/-]|\.\s*)\s*{_MONTH}(?:(?P=mark)|,)?\s*{_YEAR}{_TIME}",
        # ctime, and the API of Twitter.
        rf"{_WEEKDAY}{_MONTH}\s+{_DAY}\s+{_CLOCK}{_ZONE}\s+(?P<year>\d{{4}})",
        # reviewTime of Amazon: "07 3, 2014".
        r"(?P<month>\d{1,2})\s+(?P<day>\d{1,2}),\s*(?P<year>\d{4})",
        # With dots, the day is always first.
        rf"(?P<day>\d{{1,2}})\.(?P<month>\d{{1,2}})\.{_YEAR}{_TIME}",
    )
)
_NUMBERS = re.compile(rf"(?P<first>\d{{1,2}})(?P<mark>[/-])(?P<next>\d{{1,2}})(?P=mark){_YEAR}{_TIME}", re.I)
"""A day and a month in either order, and a year."""


def date_ms(value: object, *, day_first: bool | None = None) -> float:
    """Milliseconds since 1970 of a date; NaN if it is not recognized.

    Args:
        day_first: whether the day is first in dates such as 03/05/2012; dates in the other order are NaN.
            None: it is not known, and such dates are NaN unless one of the numbers is above 12.
    """
    if not isinstance(value, str) or len(value) > _MAX_CHARS:
        return math.nan
    return _date_ms(value.strip(), first=day_first)


def day_first(value: object) -> bool | None:
    """Whether the day is first in a date such as 31/07/2018; None if both orders, or no other one, fit."""
    found = _NUMBERS.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _MAX_CHARS else None
    first, second = (int(found["first"]), int(found["next"])) if found else (1, 1)
    return None if (first > 12) == (second > 12) else first > 12


@lru_cache(maxsize=_CACHED_TEXTS)
def _date_ms(text: str, *, first: bool | None) -> float:
    try:
        return _to_ms(datetime.fromisoformat(text.replace("Z", "+00:00")))
    except ValueError:
        pass
    parts = _parts(text, first=first)
    try:
        return math.nan if parts is None else _to_ms(_datetime(parts))
    except (ValueError, OverflowError):
        return math.nan


def _parts(text: str, *, first: bool | None) -> dict[str, str | None] | None:
    for spelling in _SPELLINGS:
        if found := spelling.fullmatch(text):
            return found.groupdict()
    found, order = _NUMBERS.fullmatch(text), day_first(text)
    if found is None or (first is None and order is None):
        return None
    # The other order of a file that has one is an error, and not a date of this order either.
    by_day = order if first is None else first
    day, month = ("first", "next") if by_day else ("next", "first")
    return found.groupdict() | {"day": found[day], "month": found[month]}


def _datetime(parts: dict[str, str | None]) -> datetime:
    """Date and time of the parts of a spelling; raises ValueError if there is no such date."""
    month, year = str(parts["month"]), int(parts["year"] or 0)
    if len(str(parts["year"])) == 2:
        # As POSIX: 69 to 99 are in the 20th century.
        year += 1900 if year >= 69 else 2000
    hour, half = int(parts.get("hour") or 0), (parts.get("half") or "").lower()
    if half and not 1 <= hour <= 12:
        raise ValueError(f"{hour} is no hour of a clock of 12")
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return datetime(
        year,
        int(month) if month.isdigit() else _MONTHS.index(month[:3].lower()) + 1,
        int(parts["day"] or 0),
        hour,
        int(parts.get("minute") or 0),
        int(parts.get("second") or 0),
        int((parts.get("fraction") or "0")[:6].ljust(6, "0")),
        _zone(parts.get("zone")),
    )


def _zone(text: str | None) -> timezone:
    if text is None or text.lower() in ("z", "utc", "gmt"):
        return timezone.utc
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:].removeprefix(":") or 0))
    return timezone(-offset if text[0] == "-" else offset)


def _to_ms(time: datetime) -> float:
    aware = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    return float((aware - _1970) // timedelta(milliseconds=1))
