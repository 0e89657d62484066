"""Batches of an epoch: each row once, the same for any number of workers; workers read only their streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.train.batches import Epoch, read_rows, to_rows
from pipeline.train.streams import STREAMS, deal, list_row_groups, read_row_group, streams_of
from pipeline.train.task import RowGroup

Parts = Callable[[list[list[int]]], list[RowGroup]]


@pytest.fixture(scope="module")
def groups_of(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """A function that writes parts with row groups of given sizes; row k has label k and only tokens k."""
    made: dict[str, list[RowGroup]] = {}

    def write(parts: list[list[int]]) -> list[RowGroup]:
        if str(parts) not in made:
            folder = tmp_path_factory.mktemp("parts")
            rng = np.random.default_rng(len(made))
            first, uris = 0, []
            for number, sizes in enumerate(parts):
                uris.append(str(folder / f"{number}.parquet"))
                with pq.ParquetWriter(uris[-1], SCHEMA) as writer:
                    for size in sizes:
                        writer.write_table(table_of(range(first, first + size), rng))
                        first += size
            made[str(parts)] = list_row_groups(uris)
        return made[str(parts)]

    return write


SCHEMA = pa.schema({"input_ids": pa.list_(pa.int32()), "label": pa.int32(), "line": pa.int64()})


def table_of(rows: range, rng: np.random.Generator) -> pa.Table:
    ids = [[k] * int(rng.integers(1, 9)) for k in rows]
    return pa.table({"input_ids": ids, "label": rows, "line": rows}, SCHEMA)


def labels_of(epoch: Epoch, rank: int = 0, world: int = 1, first: int = 0) -> list[list[int]]:
    """The labels of one worker's rows in each batch, checked against their tokens."""
    batches = []
    for batch in epoch.batches(rank, world, first=first):
        ids, labels = batch.rows.ids, batch.rows.labels
        assert np.all(ids.lengths > 0)
        assert np.array_equal(ids.values, np.repeat(labels, ids.lengths))
        batches.append(labels[batch.numbers].tolist())
    return batches


part_sizes = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=4), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=part_sizes,
    batch_rows=st.integers(1, 40),
    window_rows=st.integers(1, 200),
    seed=st.integers(0, 3),
    world=st.integers(2, 20),
)
def test_batches_are_the_same_for_any_number_of_workers(
    groups_of: Parts, parts: list[list[int]], batch_rows: int, window_rows: int, seed: int, world: int
) -> None:
    epoch = Epoch(groups_of(parts), batch_rows, seed, 0, window_rows)
    rows = sum(map(sum, parts))
    alone = labels_of(epoch)
    assert sorted(k for batch in alone for k in batch) == list(range(rows))
    assert [len(batch) for batch in alone] == [
        min(batch_rows, rows - start) for start in range(0, rows, batch_rows)
    ]
    together = [labels_of(epoch, rank, world) for rank in range(world)]
    for batch, *shares in zip(alone, *together, strict=True):
        assert sorted(batch) == sorted(k for share in shares for k in share)
        if world <= batch_rows == len(batch):
            assert all(shares)


@pytest.mark.parametrize("world", [*range(1, 10), 20])
def test_row_i_of_a_batch_comes_from_stream_i_mod_8(groups_of: Parts, world: int) -> None:
    epoch = Epoch(groups_of([[9, 30], [25, 11, 20]]), 30, 0, 0, window_rows=60)
    # Eight workers have one stream each.
    streams = [labels_of(epoch, stream, STREAMS) for stream in range(STREAMS)]
    sizes = [batch.global_rows for batch in epoch.batches(0, world)]
    assert sizes == [30, 30, 30, 5]
    for step, size in enumerate(sizes):
        batch: dict[int, int] = {}
        for stream in range(STREAMS):
            batch |= dict(zip(range(stream, size, STREAMS), streams[stream][step], strict=True))
        assert sorted(batch) == list(range(size))
        for rank in range(world):
            mine, share = streams_of(rank, world)
            expected = [batch[i] for stream in mine for i in range(stream, size, STREAMS)[share]]
            assert labels_of(epoch, rank, world)[step] == expected


@given(world=st.integers(1, 40))
def test_workers_cover_all_rows_of_all_streams(world: int) -> None:
    rows = Counter[int]()
    for rank in range(world):
        streams, share = streams_of(rank, world)
        rows.update(i for stream in streams for i in range(stream, 240, STREAMS)[share])
    assert rows == Counter(range(240))


@given(sizes=st.lists(st.integers(1, 50), max_size=30), batch_rows=st.integers(1, 60), seed=st.integers(0, 9))
def test_streams_cover_each_row_once_and_have_balanced_sizes(
    sizes: list[int], batch_rows: int, seed: int
) -> None:
    groups = [RowGroup("a", number, size) for number, size in enumerate(sizes)]
    streams = deal(groups, batch_rows, np.random.default_rng(seed))
    rows = [(e.group.number, row) for stream in streams for e in stream for row in range(e.start, e.stop)]
    assert Counter(rows) == Counter((group.number, row) for group in groups for row in range(group.rows))
    total = sum(sizes)
    taken = Counter(i % batch_rows % STREAMS for i in range(total))
    assert [sum(e.stop - e.start for e in stream) for stream in streams] == [taken[s] for s in range(STREAMS)]
    # At most one row group is divided per pair of adjacent streams.
    assert sum(map(len, streams)) <= len(sizes) + STREAMS - 1


@pytest.mark.parametrize("world", [1, 2, 3, 8, 9])
def test_worker_reads_only_the_row_groups_of_its_streams(groups_of: Parts, world: int) -> None:
    groups = groups_of([[16] * 16, [16] * 16])
    epoch = Epoch(groups, 32, 0, 0)
    total = 0
    for rank in range(world):
        opened: list[RowGroup] = []

        def read(group: RowGroup, opened: list[RowGroup] = opened) -> pa.Table:
            opened.append(group)
            return read_row_group(group)

        labels = [k for b in epoch.batches(rank, world, read=read) for k in b.rows.labels[b.numbers].tolist()]
        total += len(opened)
        if world <= STREAMS:
            # Streams of 64 rows end at row group boundaries, so each group is read once, by its worker only.
            assert Counter(opened) == Counter({groups[k // 16]: 1 for k in labels})
            assert sum(group.rows for group in opened) == len(labels)
    # The 9th worker shares a stream with the first, so both read it.
    assert total == (32 if world <= STREAMS else 36)


def test_resumed_epoch_skips_earlier_windows(groups_of: Parts) -> None:
    epoch = Epoch(groups_of([[16] * 16, [16] * 16]), 32, 0, 0, window_rows=128)
    whole = labels_of(epoch)
    for first in (0, 3, 4, 9, 15, 16):
        assert labels_of(epoch, first=first) == whole[first:]
    opened: list[RowGroup] = []

    def read(group: RowGroup) -> pa.Table:
        opened.append(group)
        return read_row_group(group)

    # Batches 8 to 15 are the last two of four windows.
    assert len(list(epoch.batches(0, 1, first=9, read=read))) == 7
    assert len(opened) == 16


def test_at_most_one_window_is_in_memory(groups_of: Parts) -> None:
    epoch = Epoch(groups_of([[7] * 6, [20, 20]]), 8, 0, 0, window_rows=24)
    for batch in epoch.batches(0, 1):
        assert len(batch.rows) <= 24


def test_seed_determines_the_order(groups_of: Parts) -> None:
    groups = groups_of([[30, 20], [10]])
    orders = [labels_of(Epoch(groups, 8, seed, 0)) for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]


def test_each_epoch_has_a_different_order(groups_of: Parts) -> None:
    groups = groups_of([[30, 20], [10]])
    assert len({str(labels_of(Epoch(groups, 8, 0, number))) for number in range(4)}) == 4


def test_batch_mixes_rows_of_the_whole_split(groups_of: Parts) -> None:
    for batch in labels_of(Epoch(groups_of([[40], [40]]), 16, 0, 0)):
        assert min(batch) < 40 <= max(batch)


def test_rows_of_a_batch_have_similar_lengths(groups_of: Parts) -> None:
    groups = groups_of([[800]])
    spreads = []
    for batch in Epoch(groups, 16, 0, 0).batches(0, 1):
        lengths = batch.rows.ids.lengths[batch.numbers]
        spreads.append(lengths.max() - lengths.min())
    # Rows have 1 to 8 tokens; in batches of random rows the spread is nearly always 7.
    assert np.mean(spreads) < 2


def test_no_row_groups_give_no_batches() -> None:
    assert list(Epoch([], 8, 0, 0).batches(0, 1)) == []
    assert list_row_groups([]) == []


def test_rows_are_read_in_the_order_of_the_parts(groups_of: Parts) -> None:
    groups = groups_of([[5], [4]])
    tables = list(read_rows([group.part for group in groups]))
    assert [t.column_names for t in tables] == [["input_ids", "label"]] * 2
    rows = to_rows(pa.concat_tables(tables))
    assert rows.labels.tolist() == list(range(9))
    assert rows.labels.dtype == np.int64
    assert len(rows) == 9
