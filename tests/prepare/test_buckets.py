"""Deduplication in buckets equals a plain loop and does not depend on the order of rows."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import DedupConfig
from pipeline.prepare.buckets import BUCKET_SCHEMA, bucket_edges, close_bucket, leak_frac

Review = tuple[tuple[int, int], int, int, int]
"""Hash, file, line, stars."""

HALVES = st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1])
reviews = st.lists(
    st.tuples(st.tuples(HALVES, HALVES), st.integers(0, 2), st.integers(1, 30), st.integers(1, 5)),
    min_size=1,
    max_size=60,
    unique_by=lambda r: (r[1], r[2]),
)


def table(found: list[Review]) -> pa.Table:
    rows = [
        {
            "source": f"file {file}",
            "line": line,
            "text_hash": high,
            "text_hash_low": low,
            "stars": float(stars),
            "label": stars - 1,
            "input_ids": [2, line, 3],
            "num_tokens": 3,
            "truncated": False,
            "cut_tokens": 0,
            "split": 0,
            "file": file,
        }
        for (high, low), file, line, stars in found
    ]
    return pa.Table.from_pylist(rows, schema=BUCKET_SCHEMA)


def expected(found: list[Review], conflict: str) -> tuple[set[tuple[int, int]], Counter[str]]:
    """Position of each kept review, and the reasons of the others, from a plain loop."""
    groups: dict[tuple[int, int], list[Review]] = {}
    for review in sorted(found, key=lambda r: r[1:3]):
        groups.setdefault(review[0], []).append(review)
    kept, reasons = set(), Counter[str]()
    for group in groups.values():
        times = Counter(stars for *_, stars in group)
        if len(times) > 1 and conflict == "drop":
            reasons["conflicting_stars"] += len(group)
            continue
        most = max(times.values())
        first = next(r for r in group if times[r[3]] == most)
        kept.add(first[1:3])
        reasons["duplicate"] += len(group) - 1
    return kept, +reasons


@given(found=reviews, conflict=st.sampled_from(["majority", "drop"]), data=st.data())
def test_one_review_of_each_text_is_kept(found: list[Review], conflict: Any, data: st.DataObject) -> None:
    bucket = close_bucket(table(found), DedupConfig(conflict=conflict))
    kept, reasons = expected(found, conflict)
    places = list(zip(bucket.rows["source"].to_pylist(), bucket.rows["line"].to_pylist(), strict=True))
    assert sorted(places) == sorted((f"file {file}", line) for file, line in kept)
    assert Counter(bucket.removed["reason"].to_pylist()) == reasons
    assert sum((Counter(r) for r in bucket.rejected.values()), Counter()) == reasons
    assert bucket.rows.num_rows + bucket.removed.num_rows == len(found)
    hashes = list(zip(*(bucket.rows[n].to_pylist() for n in ("text_hash", "text_hash_low")), strict=True))
    assert hashes == sorted(hashes)
    other = close_bucket(table(data.draw(st.permutations(found))), DedupConfig(conflict=conflict))
    assert other.rows.equals(bucket.rows)
    assert other.removed.to_pylist() == bucket.removed.to_pylist()


def test_duplicate_names_the_position_of_the_kept_review() -> None:
    bucket = close_bucket(table([((1, 1), 0, 7, 5), ((1, 1), 1, 2, 5)]), DedupConfig())
    assert bucket.removed.to_pylist() == [
        {
            "file": 1,
            "line": 2,
            "reason": "duplicate",
            "detail": "same text as file 0, line 7",
        }
    ]
    assert bucket.groups == {2: 1}
    assert bucket.conflicts == 0


def test_removed_rows_have_reasons_and_are_ordered_by_file_and_line() -> None:
    here = [((1, 1), 0, 7, 5), ((2, 1), 0, 9, 1), ((2, 1), 0, 8, 2), ((1, 1), 0, 3, 5), ((1, 1), 1, 2, 5)]
    bucket = close_bucket(table(here), DedupConfig(conflict="drop"))
    assert [tuple(r.values()) for r in bucket.removed.to_pylist()] == [
        (0, 7, "duplicate", "same text as file 0, line 3"),
        (0, 8, "conflicting_stars", "same text in another class elsewhere"),
        (0, 9, "conflicting_stars", "same text in another class elsewhere"),
        (1, 2, "duplicate", "same text as file 0, line 3"),
    ]
    assert bucket.rejected == {0: {"duplicate": 1, "conflicting_stars": 2}, 1: {"duplicate": 1}}


def test_duplicates_need_less_than_100_bytes_per_row() -> None:
    rows = 20_000
    one = table([((1, 1), 0, 1, 5)])
    many = one.take(pa.array(np.zeros(rows, np.int64)))
    many = many.set_column(many.schema.get_field_index("line"), "line", pa.array(np.arange(rows)))
    tracemalloc.start()
    bucket = close_bucket(many, DedupConfig())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bucket.removed.num_rows == rows - 1
    # Room for some NumPy columns of 8 bytes, but not for a Python string per row.
    assert peak / rows < 100


@given(found=reviews)
def test_all_rows_are_kept_without_dedup(found: list[Review]) -> None:
    bucket = close_bucket(table(found), DedupConfig(enabled=False))
    assert bucket.rows.num_rows == len(found)
    assert bucket.removed.num_rows == 0
    assert sum(size * n for size, n in bucket.groups.items()) == len(found)
    stars: dict[tuple[int, int], set[int]] = {}
    for key, _, _, star in found:
        stars.setdefault(key, set()).add(star)
    assert bucket.conflicts == sum(len(s) > 1 for s in stars.values())


@pytest.mark.parametrize("buckets", [2, 3, 7, 4096])
def test_buckets_divide_the_hash_range_evenly(buckets: int) -> None:
    edges = bucket_edges(buckets)
    widths = np.diff(np.array([-(2**63), *edges, 2**63], object))
    assert len(edges) == buckets - 1
    assert max(widths) - min(widths) <= 1


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9), train=st.sampled_from([0.5, 0.8, 0.9]))
def test_leak_frac_equals_the_expectation_over_random_splits(sizes: list[int], train: float) -> None:
    # Exact: the probability that at least one other row with the same text is in train.
    texts = np.repeat(np.arange(len(sizes)), sizes)
    exact = np.mean([1 - (1 - train) ** (sizes[t] - 1) for t in texts])
    assert leak_frac(Counter(sizes), train) == pytest.approx(exact)


def test_leak_frac_agrees_with_sampled_splits() -> None:
    rng = np.random.default_rng(0)
    sizes = [1] * 500 + [2] * 100 + [20] * 10
    texts = np.repeat(np.arange(len(sizes)), sizes)
    shares = []
    for _ in range(200):
        in_train = rng.random(len(texts)) < 0.8
        shares.append(np.isin(texts[~in_train], texts[in_train]).mean())
    assert leak_frac(Counter(sizes), 0.8) == pytest.approx(np.mean(shares), abs=0.01)
    assert leak_frac(Counter(), 0.8) == 0.0
