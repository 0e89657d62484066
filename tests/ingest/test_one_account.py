"""Files of many writers with known content: no text or label is wrong, and prepare and score agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Config, InputConfig
from pipeline.errors import InputError
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.detect.sources import Source, find_sources
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.rejects import RejectedLine
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.storage.location import locate
from tests.ingest.dump_writers import CLEAN, EXACT, FAULTY, ONE_LINE, Review

INPUT = InputConfig(unescape_html=False)
CHUNK_BYTES = 512
FEWER = settings(max_examples=settings().max_examples // 10)
"""There are 37 writers: 222 files by default, 11,100 with the large profile."""


pieces = [*"ab ',;|\\éß€.{}[]\"\n\t", "\\n", '""', '", "']
inner = st.lists(st.sampled_from(pieces), max_size=12).map("".join)
"""Texts with the characters that separate, quote and escape fields."""


@st.composite
def reviews(draw: st.DrawFn) -> list[Review]:
    count = draw(st.integers(12, 30))
    texts = draw(st.lists(inner, min_size=count, max_size=count))
    return [Review(f"lamp number {n} works {text} end", n % 5 + 1, f"U{n}") for n, text in enumerate(texts)]


def read(source: Source, recipe: Recipe) -> tuple[pa.Table, list[RejectedLine]]:
    """All rows and rejected lines of a file, read in small chunks."""
    assert isinstance(source.fmt, Format)
    tables, rejected = [], []
    for chunk in read_source(source, ReadPlan(CHUNK_BYTES, limits=recipe.limits)):
        kept = keep_lines(chunk, source.fmt, recipe)
        assert kept.rows.num_rows + len(kept.rejected) == chunk.header.lines
        tables.append(kept.rows)
        rejected += kept.rejected
    return pa.concat_tables(tables), rejected


def check(file: Path) -> tuple[list[tuple[str, float]], list[str], int]:
    """Kept reviews, warnings, and the number of rejected lines that are errors.

    prepare and score must agree on every line; score also keeps reviews without a valid label.
    """
    config = Config(input=INPUT)
    (source,) = find_sources([locate(file)], config.input, labels=config.labels).sources
    (unlabeled,) = find_sources([locate(file)], config.input, need_stars=False).sources
    assert isinstance(source.fmt, Format)
    assert unlabeled.fmt == replace(source.fmt, scale=None)
    rows, rejected = read(source, Recipe.from_config(config, label_scheme("stars")))
    scored, unusable = read(unlabeled, Recipe.from_config(config, None))
    texts = dict(zip(scored["line"].to_pylist(), scored["text"].to_pylist(), strict=True))
    assert all(texts[n] == t for n, t in zip(rows["line"].to_pylist(), rows["text"].to_pylist(), strict=True))
    by_line = {r.line: r.reason for r in rejected}
    assert all(by_line[r.line] == r.reason for r in unusable)
    assert set(texts) | {r.line for r in unusable} == set(rows["line"].to_pylist()) | set(by_line)
    kept = list(zip(rows["text"].to_pylist(), rows["stars"].to_pylist(), strict=True))
    return kept, list(source.warnings), sum(not r.reason.is_filter for r in rejected)


def truth(reviews: list[Review]) -> list[tuple[str, float]]:
    return [(r.text, float(r.stars)) for r in reviews]


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_subsequence(part: list[tuple[str, float]], whole: list[tuple[str, float]]) -> bool:
    rest: Iterator[tuple[str, float]] = iter(whole)
    return all(item in rest for item in part)


@pytest.mark.parametrize("name", [*CLEAN, *EXACT])
@FEWER
@given(reviews=reviews())
def test_files_are_read_exactly_and_clean_ones_without_a_warning(
    tmp_path_factory: pytest.TempPathFactory, name: str, reviews: list[Review]
) -> None:
    file = tmp_path_factory.mktemp("exact") / "a"
    (CLEAN | EXACT)[name](file, reviews)
    kept, warnings, errors = check(file)
    is_unclear = any("backslashes occur only in pairs" in warning for warning in warnings)
    if is_unclear and name == "csv_backslash":
        # Without an escaped quote, nothing tells whether a pair stands for one.
        kept = [(text.replace("\\\\", "\\"), stars) for text, stars in kept]
    assert (kept, errors) == (truth(reviews), 0)
    assert name not in CLEAN or warnings == [] or is_unclear


@pytest.mark.parametrize("name", FAULTY)
@FEWER
@given(reviews=reviews())
def test_no_wrong_row_is_kept_without_a_warning(
    tmp_path_factory: pytest.TempPathFactory, name: str, reviews: list[Review]
) -> None:
    if name in ONE_LINE:
        reviews = [replace(r, text=r.text.replace("\n", " ")) for r in reviews]
    file = tmp_path_factory.mktemp("faulty") / "a"
    FAULTY[name](file, reviews)
    if name == "cp1252" and is_utf8(file.read_bytes()):
        # Such as ß€, whose bytes are a letter in UTF-8.
        return
    try:
        kept, warnings, _ = check(file)
    except InputError:
        return
    assert warnings or is_subsequence(kept, truth(reviews))
