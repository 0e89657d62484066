"""Formats of the input files as run.json records them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config import InputConfig
from pipeline.errors import OutputError
from pipeline.ingest.detect.sources import Source, detect_sources
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.recorded_formats import columns_of, dialects_of, with_recorded
from pipeline.storage.location import locate

CSV = "title,text,stars,score,day\n" + "".join(
    f"a,it works {n},{n % 5 + 1},{n},0{n % 9}/05/2012\n" for n in range(30)
)


def detect(*files: Path) -> list[Source]:
    return detect_sources([locate(file) for file in files], InputConfig(timestamp="day"))


def test_a_resumed_job_reads_the_recorded_columns(tmp_path: Path) -> None:
    file, new = tmp_path / "a.csv", tmp_path / "b.csv"
    for each in (file, new):
        each.write_text(CSV)
    sources = detect(file, new)
    dialects, columns = (json.loads(json.dumps(of(sources))) for of in (dialects_of, columns_of))
    assert with_recorded(sources, dialects, columns, "out", [str(file)]) == sources
    # As if another version had chosen other columns.
    for values in columns.values():
        values.update(text=["title", "text"], stars="score", asin="title", day_first=True)
    first, second = with_recorded(sources, dialects, columns, "out", [str(file)])
    assert isinstance(first.fmt, Format)
    assert (first.fmt.text, first.fmt.stars, first.fmt.asin) == (("title", "text"), "score", "title")
    assert first.fmt.day_first
    assert str(first.columns).startswith(
        "text = title + text, stars = score; not used: stars; also read: title as"
    )
    assert second == sources[1]


def test_a_version_without_columns_keeps_those_that_are_detected(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    sources = detect(tmp_path / "a.csv")
    assert with_recorded(sources, dialects_of(sources), None, "out", [sources[0].uri]) == sources
    with pytest.raises(OutputError, match="begun by another version of rayview, which divided"):
        with_recorded(sources, None, columns_of(sources), "out", [sources[0].uri])
