"""Reports of values that are not dates."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.detect.dates import date_warnings, day_order
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.storage.location import Location, locate

CONFIG = InputConfig(text=("text",), stars="rating", timestamp="when")


def write(file: Path, dates: list[str]) -> Location:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["rating", "text", "when"], *([4, "fine", date] for date in dates)])
    return locate(file)


def days(file: Location) -> list[str | None]:
    """Days of the rows that are kept."""
    (source,) = detect_sources([file], CONFIG, need_time=True)
    assert isinstance(source.fmt, Format)
    recipe = Recipe(" ", 32, verified_only=False, scheme=None)
    (chunk,) = read_source(source, ReadPlan(1 << 20))
    times = keep_lines(chunk, source.fmt, recipe).rows["timestamp"].to_pylist()
    return [t and t.date().isoformat() for t in times]


def test_the_order_of_day_and_month_is_decided_from_the_file(tmp_path: Path) -> None:
    american, european = ["03/05/2012", "07/31/2018"], ["03/05/2012", "31/07/2018"]
    assert days(write(tmp_path / "a", american)) == ["2012-03-05", "2018-07-31"]
    assert days(write(tmp_path / "b", european)) == ["2012-05-03", "2018-07-31"]
    assert days(write(tmp_path / "c", [*american, *european])) == [None, "2018-07-31"] * 2
    assert (day_order(american), day_order(european), day_order([*american, *european])) == (
        False,
        True,
        None,
    )


def test_values_that_are_not_dates_are_reported_with_an_example() -> None:
    assert date_warnings("when", ["May 3, 2012", "2012-05-03", 1404345600, 0, None, ""]) == []
    assert date_warnings("when", ["May 3, 2012", "yesterday\n", "last week"]) == [
        "when: 2 of 3 values of the first lines are not dates, for example 'yesterday '"
    ]
    (unclear,) = date_warnings("when", ["03/05/2012", "04/05/2012"])
    assert unclear.startswith(
        "when: 2 of 2 values of the first lines are not dates, for example '03/05/2012'; the"
    )
    assert unclear.endswith("order of day and month is not clear: write them as YYYY-MM-DD")
    assert date_warnings("when", ["03/05/2012", "04/25/2012"]) == []
    (small,) = date_warnings("year", [2012, "2013", 2014])
    assert small == (
        "year: 3 of 3 values of the first lines are read as seconds since 1970, but are too small for it, for"
        " example '2012'"
    )


def test_a_split_by_time_needs_dates(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a: split\.by=time, but no value of when .* is a date, .*'last week'"
    ):
        detect_sources([write(tmp_path / "a", ["last week"] * 3)], CONFIG, need_time=True)
    unnamed = CONFIG.model_copy(update={"timestamp": None})
    with pytest.raises(
        InputError, match=r"a: split\.by=time, .* name its column with --set input\.timestamp="
    ):
        detect_sources([locate(tmp_path / "a")], unnamed, need_time=True)
    assert days(write(tmp_path / "b", ["last week", "May 3, 2012"])) == [None, "2012-05-03"]


def test_dates_of_parquet_files_are_checked(tmp_path: Path) -> None:
    for name, dates in (("a", pa.array(["last week"])), ("b", pa.array([10**15], pa.timestamp("us")))):
        pq.write_table(pa.table({"rating": [4], "text": ["fine"], "when": dates}), tmp_path / name)
    with pytest.raises(InputError, match=r"no value of when in the first lines is a date"):
        detect_sources([locate(tmp_path / "a")], CONFIG, need_time=True)
    assert days(locate(tmp_path / "b")) == ["2001-09-09"]
