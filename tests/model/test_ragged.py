"""Batches of ragged rows, compared with a plain loop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.tokenize.buffers import take_slices
from pipeline.model.ragged import (
    WIDTH_STEP,
    Ragged,
    packed_batches,
    padded_width,
    token_budget_batches,
)
from pipeline.model.tensors import to_tensors

rows_of_ids = st.lists(st.lists(st.integers(1, 30_000), max_size=40), min_size=1, max_size=30)


def column(rows: list[list[int]]) -> pa.Array:
    return pa.array(rows, pa.list_(pa.int32()))


def pad_plainly(rows: list[list[int]], pad_id: int, width: int) -> tuple[list[list[int]], list[list[int]]]:
    ids = [row + [pad_id] * (width - len(row)) for row in rows]
    return ids, [[1] * len(row) + [0] * (width - len(row)) for row in rows]


@given(rows=rows_of_ids, max_width=st.integers(1, 48), pad_id=st.integers(0, 5), data=st.data())
def test_pad_agrees_with_a_loop(
    rows: list[list[int]], max_width: int, pad_id: int, data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=20))
    ids, mask = Ragged.of(column(rows)).pad(np.array(chosen), pad_id, max_width)
    wanted = [rows[i] for i in chosen]
    max_length = max(map(len, wanted))
    width = ids.shape[1]
    assert (ids.tolist(), mask.tolist()) == pad_plainly(wanted, pad_id, width)
    assert ids.dtype == mask.dtype == np.int64
    assert max(1, max_length) <= width < max(1, max_length) + WIDTH_STEP
    assert width <= max(1, max_length, max_width)


@given(rows=rows_of_ids, data=st.data())
def test_slices_and_chunked_columns_hold_the_same_rows(rows: list[list[int]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    chunked = pa.chunked_array([column(rows[:cut]), column(rows[cut:])])
    sliced = column([[9] * 5, *rows, [8]]).slice(1, len(rows))
    for ragged in (Ragged.of(column(rows)), Ragged.of(chunked), Ragged.of(sliced)):
        assert ragged.lengths.tolist() == [len(r) for r in rows]
        found = [
            ragged.values[a:b].tolist() for a, b in zip(ragged.offsets, ragged.offsets[1:], strict=False)
        ]
        assert found == rows


@given(rows=st.lists(st.lists(st.integers(0, 2), max_size=4), max_size=40), cut=st.integers(0, 5))
def test_distinct_contains_each_row_once(rows: list[list[int]], cut: int) -> None:
    distinct, which = Ragged.of(column([[7] * 3] * cut + rows).slice(cut)).distinct()
    bounds = zip(distinct.offsets, distinct.offsets[1:], strict=False)
    found = [distinct.values[a:b].tolist() for a, b in bounds]
    assert found == list(map(list, dict.fromkeys(map(tuple, rows))))
    assert [found[i] for i in which] == rows


def test_no_rows_give_no_batches() -> None:
    empty = pa.chunked_array([], pa.list_(pa.int32()))
    assert len(Ragged.of(empty).lengths) == 0
    assert token_budget_batches(Ragged.of(empty).lengths, 100, 10) == []


@given(
    lengths=st.lists(st.integers(1, 200), max_size=100),
    budget=st.integers(1, 5000),
    max_width=st.integers(1, 256),
)
def test_batches_hold_each_row_once_and_stay_within_the_budget(
    lengths: list[int], budget: int, max_width: int
) -> None:
    array = np.array(lengths, np.int64)
    batches = token_budget_batches(array, budget, max_width)
    assert sorted(i for b in batches for i in b.tolist()) == list(range(len(lengths)))
    for batch in batches:
        width = padded_width(int(array[batch].max()), max_width)
        assert len(batch) == 1 or width * len(batch) <= budget
    falling = [array[i] for b in batches for i in b]
    assert falling == sorted(falling, reverse=True)


@given(lengths=st.lists(st.integers(1, 200), max_size=100), budget=st.integers(1, 5000))
def test_batches_without_padding_are_full(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    batches = packed_batches(array, budget)
    rows = [i for b in batches for i in b.tolist()]
    assert rows == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for batch in batches:
        assert len(batch) == 1 or array[batch].sum() <= budget
    for batch, following in pairwise(batches):
        assert array[batch].sum() + array[following[0]] > budget


def test_batches_use_the_whole_budget() -> None:
    batches = token_budget_batches(np.full(10, 8), 32, 64)
    assert [len(b) for b in batches] == [4, 4, 2]


def test_batches_are_deterministic() -> None:
    lengths = np.array([5, 9, 5, 9, 5, 1] * 50)
    one, two = (token_budget_batches(lengths, 30, 16) for _ in range(2))
    assert [b.tolist() for b in one] == [b.tolist() for b in two]
    # Rows of one length keep their order.
    order = [i for b in one for i in b.tolist()]
    assert order == sorted(range(300), key=lambda i: (-lengths[i], i))


@pytest.mark.parametrize(
    ("length", "max_width", "width"),
    [(0, 128, 1), (1, 128, 8), (8, 128, 8), (9, 128, 16), (121, 128, 128), (121, 125, 125), (130, 128, 130)],
)
def test_padded_width_is_rounded_up_within_max_width(length: int, max_width: int, width: int) -> None:
    assert padded_width(length, max_width) == width


def test_tensors_contain_the_batch() -> None:
    ids, mask = Ragged.of(column([[1, 2, 3], [4]])).pad(np.array([1, 0]), 0, 3)
    tensors = to_tensors(ids, mask, "cpu")
    assert tensors["input_ids"].tolist() == [[4, 0, 0], [1, 2, 3]]
    assert tensors["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]


@given(
    slices=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5))),
)
def test_take_slices_concatenates_slices_of_an_array(slices: list[tuple[int, int]]) -> None:
    values = np.arange(100, 125, dtype=np.int32)
    starts, lengths = np.array(slices, np.int64).reshape(-1, 2).T
    found = take_slices(values, starts, lengths)
    assert found.dtype == np.int32
    assert found.tolist() == [v for start, length in slices for v in values[start : start + length]]
