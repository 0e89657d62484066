"""Conversion of values of any type to typed columns."""

from __future__ import annotations

from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.ingest.parse.columns import (
    as_text,
    as_word,
    flag_array,
    id_array,
    row_table,
    star_array,
    time_array,
    word_array,
)
from pipeline.ingest.parse.formats import FORMATS, ParseOptions

HUGE = int("f" * 5000, 16)
"""More decimal digits than Python converts to a string."""


def days(*values: Any) -> list[str | None]:
    times = time_array(list(values)).to_pylist()
    return [t and t.date().isoformat() for t in times]


def test_huge_numbers_and_lone_surrogates_are_converted() -> None:
    odd = [HUGE, "a\ud800b", "x", None]
    written = "0x" + "f" * 5000
    assert as_text(HUGE) == as_word(HUGE) == written
    assert id_array(odd).to_pylist() == word_array(odd).to_pylist() == [written, "a?b", "x", None]
    assert flag_array([*odd, "yes"]).to_pylist() == [None] * 4 + [True]
    assert time_array(odd).null_count == 4
    stars = star_array([*odd, "5", 4]).to_pylist()
    assert (stars[3], stars[4:]) == (None, [5.0, 4.0])
    assert np.isnan(stars[:3]).all()


def test_ids_do_not_depend_on_other_ids_in_the_column() -> None:
    assert id_array([" B1 ", ""]).to_pylist() == [" B1 ", ""]
    assert id_array([" B1 ", "", 7, 7.0, True]).to_pylist() == [" B1 ", "", "7", "7", "true"]


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_blank_stars_are_null(blank: str) -> None:
    assert star_array([blank, 5]).to_pylist() == [None, 5.0]


def test_values_that_are_no_ratings_are_kept_as_words() -> None:
    nulls = dict.fromkeys(("asin", "user_id", "timestamp", "verified"), [None] * 5)
    stars = [5, "5 points", None, "", "4"]
    table = row_table(range(5), ["x"] * 5, FORMATS[0], ParseOptions(), stars=stars, **nulls)
    assert table["word"].to_pylist() == [None, "5 points", None, None, None]
    assert table["stars"].to_pylist()[2:] == [None, None, 4.0]
    stars = [1, 2, None, 4.5, 9]
    table = row_table(range(5), ["x"] * 5, FORMATS[0], ParseOptions(), stars=stars, **nulls)
    assert table["word"].to_pylist() == [None] * 4 + ["9"]


def test_dates_of_every_year_are_converted() -> None:
    years = ["0001-01-01", "1969-12-31", "5138-11-17", "9999-12-31"]
    assert days(*years) == years
    assert days("9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+23:00") == [None, None]
    assert time_array(["2015-08-31 12:00:00.001", "1969-12-31 23:59:59.999"]).cast(
        pa.int64()
    ).to_pylist() == [
        1441022400001,
        -1,
    ]


def test_numbers_of_eight_digits_can_be_dates() -> None:
    assert days("20160901", 20160901, 20160901.0, " 19900101 ") == ["2016-09-01"] * 3 + ["1990-01-01"]
    assert days(20160901, 21001231) == ["2016-09-01", "2100-12-31"]
    # Invalid dates, and dates outside 1990 to 2100, are seconds since 1970.
    assert days(20161301, "20160931", 20160901.5) == ["1970-08-22"] * 3
    assert days(19891231, 21010101) == ["1970-08-19", "1970-09-01"]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pa.array([0, 2**31 - 1], pa.int32()).view(pa.date32()), ["1970-01-01", None]),
        (pa.array([0, 2**62], pa.int64()).view(pa.timestamp("us", tz="Foo/Bar")), ["1970-01-01", None]),
        (pa.array([0, -(2**63)], pa.int64()).view(pa.timestamp("ms")), ["1970-01-01", None]),
        (pa.array([0, 1], pa.int32()).view(pa.time32("s")), [None, None]),
        (pa.array([0, 1], pa.int64()).view(pa.time64("us")), [None, None]),
        (pa.array([0, 1], pa.int64()).view(pa.duration("ms")), [None, None]),
        (pa.array([date(2015, 8, 31), None]), ["2015-08-31", None]),
        (pa.array([datetime(2015, 8, 31, tzinfo=timezone.utc), None]), ["2015-08-31", None]),
    ],
    ids=lambda a: str(getattr(a, "type", "")),
)
def test_arrow_times_are_converted_to_milliseconds(times: pa.Array, expected: list[str | None]) -> None:
    for column in (times, pa.chunked_array([times])):
        ms = time_array(column)
        assert ms.type == pa.timestamp("ms", tz="UTC")
        assert [t and t.date().isoformat() for t in ms.to_pylist()] == expected
