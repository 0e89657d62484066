"""Files with other scales, ratings without a text and unrated reviews, from the file to its rows."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.settings import load_config
from pipeline.storage.location import locate

COLUMNS = "input.text=text,input.stars=mark"


class Outcome:
    """Rows and rejects of a file."""

    def __init__(self, file: Path, *sets: str) -> None:
        config = load_config(None, [COLUMNS, *sets])
        (source,) = detect_sources([locate(file)], config.input, labels=config.labels)
        assert isinstance(source.fmt, Format)
        recipe = Recipe.from_config(config, label_scheme(config.labels.scheme, config.labels.words))
        rows, rejected = [], []
        for chunk in read_source(source, ReadPlan(1 << 24)):
            kept = keep_lines(chunk, source.fmt, recipe)
            assert kept.rows.num_rows + len(kept.rejected) == chunk.header.lines
            rows += kept.rows.to_pylist()
            rejected += kept.rejected
        self.stars = [row["stars"] for row in rows]
        self.texts = [row["text"] for row in rows]
        self.names = [recipe.scheme.labels[row["label"]] for row in rows] if recipe.scheme else []
        self.rejected = Counter(r.reason.value for r in rejected)
        self.details = [r.detail for r in rejected]
        self.errors = sum(not r.reason.is_filter for r in rejected)


def as_json(file: Path, marks: list[Any]) -> Path:
    file.write_text("".join(json.dumps({"text": f"no {i}", "mark": m}) + "\n" for i, m in enumerate(marks)))
    return file


def as_csv(file: Path, marks: list[Any]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([["mark", "text"], *([m, f"no {i}"] for i, m in enumerate(marks))])
    return file


def as_parquet(file: Path, marks: list[Any]) -> Path:
    pq.write_table(pa.table({"mark": marks, "text": [f"no {i}" for i in range(len(marks))]}), file)
    return file


WRITERS = pytest.mark.parametrize("write", [as_json, as_csv, as_parquet])


@WRITERS
@pytest.mark.parametrize(
    ("scale", "marks", "names"),
    [
        ("0-4", [0, 1, 2, 3, 4], "1 2 3 4 5"),
        ("1-10", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "1 1 2 2 3 3 4 4 5 5"),
        ("10-50", [10, 15, 20, 30, 45, 50], "1 2 2 3 5 5"),
        ("0.5-5", [0.5, 1.0, 3.0, 5.0], "1 1 3 5"),
        ("0-100", [0, 12, 12.5, 50, 100], "1 1 2 3 5"),
        ("0-1", [0, 1], "negative positive"),
        ("1-2", [1, 2], "negative positive"),
        ("-1-1", [-1, 1], "negative positive"),
    ],
)
def test_labels_of_each_scale(write: Any, scale: str, marks: list[float], names: str, tmp_path: Path) -> None:
    outcome = Outcome(write(tmp_path / "a", marks * 5), f"labels.scale={scale}")
    low, high = map(float, scale.rsplit("-", 1) if scale != "-1-1" else (-1, 1))
    assert outcome.names == names.split() * 5
    assert outcome.stars == pytest.approx([1 + 4 * (m - low) / (high - low) for m in marks] * 5, abs=1e-6)
    assert not outcome.rejected


@WRITERS
@pytest.mark.parametrize(
    ("scale", "marks", "names"),
    [
        ("1-10", [1, 4, 5, 6, 7, 10], ["negative", "negative", None, None, "positive", "positive"]),
        ("0-10", [0, 4, 5, 6, 10], ["negative", "negative", None, "positive", "positive"]),
        ("0-100", [39, 40, 41, 59, 60, 61], ["negative", "negative", None, None, "positive", "positive"]),
        ("-1-1", [-1, 0, 1], ["negative", None, "positive"]),
        ("1-5", [1, 2.5, 3, 3.5, 5], ["negative", "negative", None, "positive", "positive"]),
    ],
)
def test_binary_drops_the_middle_fifth_of_each_scale(
    write: Any, scale: str, marks: list[float], names: list[str | None], tmp_path: Path
) -> None:
    sets = ("labels.scheme=binary", f"labels.scale={scale}")
    outcome = Outcome(write(tmp_path / "a", [float(m) for m in marks]), *sets)
    assert outcome.names == [name for name in names if name]
    assert outcome.rejected == {"neutral_dropped": names.count(None)}


@WRITERS
def test_spellings_of_stars(write: Any, tmp_path: Path) -> None:
    marks = ["5.0 out of 5 stars", "4/5", "★★★★☆", "4,0", "1.5", "3 stars", "2"]
    outcome = Outcome(write(tmp_path / "a", marks))
    assert outcome.stars == [5, 4, 4, 4, 1.5, 3, 2]
    assert outcome.names == ["5", "4", "4", "4", "2", "3", "2"]


@given(
    marks=st.lists(
        st.sampled_from(["4/5", "4/10", "8/10", "0", "6", "4.5", "4.4", "★★★☆", "x", "4,0"]), max_size=8
    )
)
def test_only_ratings_of_the_scale_become_rows(marks: list[str], tmp_path_factory: Any) -> None:
    truth = {"4/5": 4, "4.5": 4.5, "4,0": 4}
    file = as_csv(tmp_path_factory.mktemp("f") / "a", ["4", *marks])
    outcome = Outcome(file, "labels.scale=1-5") if "4.4" in marks else Outcome(file)
    if "4.4" in marks:
        truth["4.4"] = 4.4
    assert outcome.stars == pytest.approx([4, *(truth[m] for m in marks if m in truth)])
    assert outcome.rejected["stars_out_of_range"] == sum(m not in truth for m in marks)


@WRITERS
def test_unrated_reviews_are_filtered_out(write: Any, tmp_path: Path) -> None:
    marks = [0, 5, 4, 0, 1] * 20
    rejected = Outcome(write(tmp_path / "a", marks))
    assert (rejected.rejected, rejected.errors) == ({"stars_out_of_range": 40}, 40)
    assert rejected.details[0] == (
        'mark is 0, not 1 to 5; if 0 means "not rated", set labels.unrated=0; if it is a rating, set'
        " labels.scale"
    )
    outcome = Outcome(tmp_path / "a", "labels.unrated=0")
    assert (outcome.rejected, outcome.errors, outcome.details[0]) == ({"not_rated": 40}, 0, "mark is 0")
    assert outcome.stars == [5, 4, 1] * 20


def test_words_can_mean_not_rated(tmp_path: Path) -> None:
    outcome = Outcome(as_csv(tmp_path / "a", ["N/A", "5", "n/a", "none"]), "labels.unrated=N/A")
    assert outcome.rejected == {"not_rated": 2, "stars_out_of_range": 1}


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_ratings_without_a_text_are_skipped_on_purpose(kind: str, tmp_path: Path) -> None:
    texts = ["good", None, " ", "", "poor"]
    records = [{"text": text, "mark": 4} for text in texts]
    if kind == "json":
        (tmp_path / "a").write_text("".join(json.dumps(r) + "\n" for r in records))
    elif kind == "csv":
        with (tmp_path / "a").open("w", newline="") as out:
            csv.writer(out).writerows([["text", "mark"], *(r.values() for r in records)])
    else:
        pq.write_table(pa.Table.from_pylist(records), tmp_path / "a")
    missing = 2 if kind == "csv" else 1
    outcome = Outcome(tmp_path / "a")
    assert outcome.rejected == {"missing_text": missing, "empty_text": 3 - missing}
    outcome = Outcome(tmp_path / "a", "input.null_text=skip")
    assert (outcome.rejected, outcome.errors, len(outcome.stars)) == ({"no_text": 3}, 0, 2)


@pytest.mark.parametrize("kind", ["json", "array", "python", "csv", "parquet"])
def test_values_that_mean_no_text(kind: str, tmp_path: Path) -> None:
    texts = ["good nan", "nan", " N/A ", "NaN", "poor", None]
    records = [{"title": "nan" if n else "title", "body": t, "mark": 4} for n, t in enumerate(texts)]
    if kind == "json":
        (tmp_path / "a").write_text("".join(json.dumps(r) + "\n" for r in records))
    elif kind == "array":
        (tmp_path / "a").write_text(json.dumps(records))
    elif kind == "python":
        (tmp_path / "a").write_text("".join(f"{r!r}\n" for r in records))
    elif kind == "csv":
        with (tmp_path / "a").open("w", newline="") as out:
            csv.writer(out).writerows([["title", "body", "mark"], *(r.values() for r in records)])
    else:
        pq.write_table(pa.Table.from_pylist(records), tmp_path / "a")
    sets = ("input.text=title,body", "input.null_values=nan,N/A")
    outcome = Outcome(tmp_path / "a", *sets)
    assert outcome.texts == ["title good nan", "NaN", "poor"]
    assert outcome.rejected == {"missing_text": 3}
    assert Outcome(tmp_path / "a", *sets, "input.null_text=skip").errors == 0
    assert Outcome(tmp_path / "a", "input.text=title,body").texts[1] == "nan nan"
