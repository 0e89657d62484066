"""Dates in the spellings that dumps contain."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.parse.columns import time_array
from pipeline.ingest.parse.dates import date_ms, day_first


def read(value: object, *, order: bool | None = None) -> str | None:
    ms = date_ms(value, day_first=order)
    if math.isnan(ms):
        return None
    return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(sep=" ", timespec="seconds")[:19]


@pytest.mark.parametrize(
    "text",
    [
        *("May 3, 2012", "may 3 2012", "May 03, 2012", "May 3rd, 2012", "3 May 2012", "3rd of May 2012"),
        *(
            "3. May 2012",
            "03-May-2012",
            "3-May-12",
            "03/May/2012",
            "Thursday, May 3, 2012",
            "Thu, 3 May 2012",
        ),
        *("05 3, 2012", "2012/05/03", "2012-5-3", "2012.05.03", "2012-05-03", "3.5.2012", "03.05.12"),
        *("Reviewed in the United States on May 3, 2012", "2012-05-03T00:00:00Z", " May 3, 2012 "),
        *("Thu May 03 00:00:00 +0000 2012", "Thu May  3 00:00:00 2012", "Thu, 03 May 2012 00:00:00 GMT"),
        *(
            "2012-05-03 00:00:00.0",
            "2012-05-03 00:00:00 UTC",
            "2012-05-02T19:00:00-0500",
            "May 3, 2012 12:00 AM",
        ),
    ],
)
def test_spellings_of_a_day(text: str) -> None:
    assert read(text) == "2012-05-03 00:00:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2018-07-31 14:05", "2018-07-31 14:05:00"),
        ("2018-07-31T14:05:06.123456789Z", "2018-07-31 14:05:06"),
        ("31-Jul-18", "2018-07-31 00:00:00"),
        ("31-Jul-98", "1998-07-31 00:00:00"),
        ("Jul 31, 2018 2:05 PM", "2018-07-31 14:05:00"),
        ("July 31, 2018 at 12:05 a.m.", "2018-07-31 00:05:00"),
        ("2018/07/31 14:05:06", "2018-07-31 14:05:06"),
        ("31.07.2018 14:05", "2018-07-31 14:05:00"),
        ("07/31/2018 2:05:06 PM", "2018-07-31 14:05:06"),
        ("Tue, 31 Jul 2018 14:05:06 +0200", "2018-07-31 12:05:06"),
        ("Sept. 4, 2015", "2015-09-04 00:00:00"),
    ],
)
def test_times_of_a_day(text: str, expected: str) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "3 months ago",
            "May 2012",
            "February 30, 2012",
            "13/13/2012",
            "2012-13-01",
            "May 3, 2012 25:00",
        ),
        *("12:05", "May 3, 2012 25:00", "May 3, 2012 13:00 PM", "x" * 999, None, 5, ["May 3, 2012"]),
    ],
)
def test_anything_else_is_no_date(value: object) -> None:
    assert read(value) is None


def test_the_order_of_day_and_month_is_never_guessed() -> None:
    assert read("03/05/2012") is None
    assert read("03/05/2012", order=True) == "2012-05-03 00:00:00"
    assert read("03/05/2012", order=False) == "2012-03-05 00:00:00"
    assert read("31/07/2018") == read("07/31/2018") == "2018-07-31 00:00:00"
    assert read("31/07/2018", order=False) is None
    orders = [day_first(t) for t in ("31/07/2018", "7-31-18", "03/05/2012", "31.07.2018", "May 3, 2012", 5)]
    assert orders == [True, False, None, None, None, None]


FORMS = ("%B %d, %Y", "%d-%b-%Y", "%Y/%m/%d", "%a, %d %b %Y", "%m %d, %Y", "%d.%m.%Y")


@given(day=st.dates(), form=st.sampled_from(FORMS))
def test_every_day_is_read_in_every_form(day: datetime, form: str) -> None:
    text = day.strftime(form.replace("%Y", f"{day.year:04}"))
    assert read(text) == f"{day.isoformat()} 00:00:00"


@given(ms=st.integers(10**11, 4 * 10**12))
def test_units_of_numbers_are_told_by_their_size(ms: int) -> None:
    for values in ([ms, ms * 1000, ms * 10**6], [str(ms), str(ms * 1000), "x", str(ms * 10**6)]):
        times = time_array(values).cast("int64").to_pylist()
        # At 10^17 microseconds would be after the year 5000.
        assert [t for t in times if t is not None] == [ms] * (3 if ms != 10**11 else 2)


def test_many_dates_of_few_days_are_read_quickly() -> None:
    start = time.perf_counter()
    assert time_array([f"May {n % 28 + 1}, 2012" for n in range(200_000)]).null_count == 0
    assert time.perf_counter() - start < 5
