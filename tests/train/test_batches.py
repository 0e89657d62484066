"""Batches of an epoch: every row once, the same for any number of workers, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.train.batches import epoch_batches, my_part, read_rows, to_rows

Parts = Callable[[list[int]], list[str]]


@pytest.fixture(scope="module")
def parts_of(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Writes parts of so many rows; row k of them all is labelled k and begins with token k."""
    made: dict[tuple[int, ...], list[str]] = {}

    def write(sizes: list[int]) -> list[str]:
        if tuple(sizes) not in made:
            folder = tmp_path_factory.mktemp("parts")
            rng = np.random.default_rng(len(made))
            first, uris = 0, []
            for number, size in enumerate(sizes):
                rows = range(first, first + size)
                table = pa.table(
                    {
                        "input_ids": pa.array(
                            [[k] * int(rng.integers(1, 9)) for k in rows], pa.list_(pa.int32())
                        ),
                        "label": pa.array(rows, pa.int32()),
                        "line": pa.array(rows, pa.int64()),
                    }
                )
                uris.append(str(folder / f"{number}.parquet"))
                pq.write_table(table, uris[-1])
                first += size
            made[tuple(sizes)] = uris
        return made[tuple(sizes)]

    return write


def epoch(
    parts: list[str], batch_rows: int, seed: int = 0, number: int = 0, window_rows: int = 40
) -> list[list[int]]:
    """Labels of each batch, checked against the tokens of its rows."""
    batches = []
    for rows, batch in epoch_batches(parts, batch_rows, seed, number, window_rows=window_rows):
        starts = rows.ids.offsets[batch]
        assert rows.ids.values[starts].tolist() == rows.labels[batch].tolist()
        assert (np.diff(rows.ids.lengths[batch]) <= 0).all()
        batches.append(rows.labels[batch].tolist())
    return batches


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    batch_rows=st.integers(1, 40),
    window_rows=st.integers(1, 200),
    seed=st.integers(0, 3),
)
def test_each_row_is_in_one_batch_whatever_the_window(
    parts_of: Parts, sizes: list[int], batch_rows: int, window_rows: int, seed: int
) -> None:
    batches = epoch(parts_of(sizes), batch_rows, seed, window_rows=window_rows)
    assert sorted(k for batch in batches for k in batch) == list(range(sum(sizes)))
    assert len(batches) == -(-sum(sizes) // batch_rows)
    assert all(len(batch) == batch_rows for batch in batches[:-1])


def test_small_windows_carry_rows_over_instead_of_making_short_batches(parts_of: Parts) -> None:
    batches = epoch(parts_of([7] * 6), batch_rows=16, window_rows=1)
    assert [len(b) for b in batches] == [16, 16, 10]


def test_one_seed_gives_one_order(parts_of: Parts) -> None:
    parts = parts_of([30, 20, 10])
    assert epoch(parts, 8, seed=3) == epoch(parts, 8, seed=3)
    assert epoch(parts, 8, seed=3) != epoch(parts, 8, seed=4)


def test_each_epoch_has_an_order_of_its_own(parts_of: Parts) -> None:
    parts = parts_of([30, 20, 10])
    epochs = [epoch(parts, 8, number=n) for n in range(4)]
    assert len({str(e) for e in epochs}) == 4


def test_rows_of_different_parts_are_mixed(parts_of: Parts) -> None:
    batches = epoch(parts_of([30, 30]), 10, window_rows=60)
    mixed = [b for b in batches if min(b) < 30 <= max(b)]
    assert len(mixed) >= len(batches) // 2


@given(rows=st.integers(1, 50), world=st.integers(1, 16))
def test_the_parts_of_the_workers_make_the_batch(rows: int, world: int) -> None:
    batch = np.arange(100, 100 + rows)
    parts = [my_part(batch, rank, world) for rank in range(world)]
    assert sorted(np.concatenate(parts).tolist()) == batch.tolist()
    assert len(parts[0]) > 0
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_no_parts_give_no_batches() -> None:
    assert list(epoch_batches([], 8, 0, 0)) == []


def test_rows_are_read_in_the_order_of_the_parts(parts_of: Parts) -> None:
    tables = list(read_rows(parts_of([5, 4])))
    assert [t.column_names for t in tables] == [["input_ids", "label"]] * 2
    rows = to_rows(pa.concat_tables(tables))
    assert rows.labels.tolist() == list(range(9))
    assert rows.labels.dtype == np.int64
    assert len(rows) == 9
