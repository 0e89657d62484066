"""Splits by text hash neither leak nor move; splits by head take the first rows as the test set."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config, InputConfig, SplitConfig
from pipeline.errors import InputError
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe
from pipeline.ingest.clean.text import text_hash
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.stream import ReadPlan
from pipeline.prepare.head import find_boundary
from pipeline.prepare.split import SPLITS, Boundary, assign, uniform
from pipeline.storage.location import locate
from tests.texts import UNICODE

RECIPE = Recipe(" ", 32, verified_only=False, scheme=label_scheme("stars"))
texts = st.lists(st.text(UNICODE, max_size=12), min_size=1, max_size=60)


def splits_of(words: list[str], config: SplitConfig) -> list[str]:
    hashes = text_hash(pa.array(words, pa.string()))[:, 0]
    found = assign(hashes, np.arange(1, len(words) + 1), 0, config, None)
    return [SPLITS[i] for i in found]


@given(words=texts, more=texts, seed=st.integers(-5, 2**40))
def test_text_stays_in_its_split_when_rows_are_added_or_reordered(
    words: list[str], more: list[str], seed: int
) -> None:
    config = SplitConfig(seed=seed)
    alone = dict(zip(words, splits_of(words, config), strict=True))
    grown = more + words[::-1]
    together = dict(zip(grown, splits_of(grown, config), strict=True))
    assert {w: together[w] for w in words} == alone


@given(
    words=st.lists(st.sampled_from(["a", "good", "it", "was", "VERY", "MÜDE", "naïve", "好"]), min_size=1),
    spaces=st.lists(st.sampled_from([" ", "  ", "\t", "\n", "\u00a0", " \u2003"]), min_size=1),
    seed=st.integers(0, 9),
)
def test_texts_that_differ_in_case_and_white_space_are_never_in_two_splits(
    words: list[str], spaces: list[str], seed: int
) -> None:
    spaced = "".join(word + spaces[i % len(spaces)] for i, word in enumerate(words)).strip()
    variants = [" ".join(words), spaced, spaced.upper(), spaced.lower()]
    assert len(set(splits_of(variants, SplitConfig(seed=seed)))) == 1


@pytest.mark.parametrize(
    ("train", "val", "test"), [(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.9, 0.1, 0.0), (0.01, 0.01, 0.98)]
)
def test_split_sizes_match_their_fractions(train: float, val: float, test: float) -> None:
    config = SplitConfig(train_frac=train, val_frac=val, test_frac=test)
    rows = 50_000
    hashes = text_hash(pa.array([f"review {i}" for i in range(rows)]))[:, 0]
    shares = np.bincount(assign(hashes, np.arange(rows), 0, config, None), minlength=3) / rows
    # Five standard deviations of a binomial share.
    for share, frac in zip(shares, (train, val, test), strict=True):
        assert abs(share - frac) <= 5 * np.sqrt(frac * (1 - frac) / rows)


def test_splits_of_different_seeds_are_independent() -> None:
    words = [f"review {i}" for i in range(4000)]
    one, other = (np.array(splits_of(words, SplitConfig(seed=s))) for s in (0, 1))
    # Independent splits agree on 0.8² + 2·0.1² of the rows.
    assert abs((one == other).mean() - 0.66) < 0.05


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50), st.integers(-(2**63), 2**63))
def test_uniform_numbers_are_in_the_unit_interval(hashes: list[int], seed: int) -> None:
    numbers = uniform(np.array(hashes, np.int64), seed)
    assert ((numbers >= 0) & (numbers < 1)).all()


def test_adjacent_hashes_get_uncorrelated_numbers() -> None:
    numbers = uniform(np.arange(10_000, dtype=np.int64), 0)
    assert abs(numbers.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.05


def test_head_contains_all_rows_up_to_the_boundary() -> None:
    config = SplitConfig(by="head", train_frac=0.4, val_frac=0.1, test_frac=0.5)
    lines = np.arange(1, 101)
    hashes = text_hash(pa.array([f"t{i}" for i in lines]))[:, 0]
    before, at, after = (assign(hashes, lines, file, config, Boundary(1, 40)) for file in (0, 1, 2))
    assert set(before) == {2}
    assert set(at[:40]) == {2}
    assert set(at[40:]) == {0, 1}
    assert set(after) == {0, 1}
    # train and val share the rest as 0.4 to 0.1, by the hash only, independent of the boundary.
    assert (after == (uniform(hashes, config.seed) >= 0.8)).all()
    assert (at[40:] == after[40:]).all()


def write_dump(folder: Path, files: list[list[str]]) -> list[str]:
    """Write one gzip file per list of texts; the line of an empty text is rejected."""
    paths = []
    for number, words in enumerate(files):
        lines = [json.dumps({"overall": 5.0, "reviewText": word}) for word in words]
        paths.append(folder / f"{number}.json.gz")
        paths[-1].write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return [str(p) for p in paths]


def boundary_of(paths: list[str], head_rows: int, max_rows: int | None = None) -> Boundary | None:
    sources = detect_sources([locate(p) for p in paths], InputConfig())
    config = Config().replace(split__by="head", split__head_rows=head_rows).split
    return find_boundary(sources, RECIPE, ReadPlan(1 << 20, max_rows), config)


@pytest.mark.parametrize(
    ("head_rows", "boundary"),
    [
        (1, Boundary(0, 1)),
        (2, Boundary(0, 3)),
        # All usable rows of the first file: the boundary is its end, after the trailing reject.
        (3, Boundary(1, 0)),
        (4, Boundary(1, 2)),
        (5, Boundary(2, 0)),
        (6, Boundary(2, 1)),
    ],
)
def test_boundary_counts_usable_rows_over_several_files(
    tmp_path: Path, head_rows: int, boundary: Boundary
) -> None:
    paths = write_dump(tmp_path, [["a", "", "b", "c", ""], ["", "d", "e"], ["f", "g"]])
    assert boundary_of(paths, head_rows) == boundary


def test_head_rows_that_leave_no_training_rows_are_refused(tmp_path: Path) -> None:
    paths = write_dump(tmp_path, [["a", "", "b"], ["c"]])
    assert boundary_of(paths, 2) is not None
    for head_rows in (3, 4, 1000):
        with pytest.raises(InputError, match=rf"split\.head_rows={head_rows}, .* only 3 usable rows"):
            boundary_of(paths, head_rows)


def test_boundary_search_stops_at_max_rows(tmp_path: Path) -> None:
    paths = write_dump(tmp_path, [["a", "b"], ["c", "d"]])
    assert boundary_of(paths, 2, max_rows=3) == Boundary(1, 0)
    with pytest.raises(InputError, match="only 3 usable rows"):
        boundary_of(paths, 3, max_rows=3)


def test_split_by_text_has_no_boundary(tmp_path: Path) -> None:
    sources = detect_sources([locate(p) for p in write_dump(tmp_path, [["a"]])], InputConfig())
    assert find_boundary(sources, RECIPE, ReadPlan(1 << 20), SplitConfig()) is None
