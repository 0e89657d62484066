"""Rows of an epoch, divided into 8 streams that can be read independently.

The row groups of the split are shuffled, concatenated, and cut into 8 consecutive streams. Every worker can
compute all streams from the Parquet footers, and reads only the row groups of its own streams; a row group
that is cut is read for both streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.arrays import IntArray
from pipeline.errors import InputError
from pipeline.storage.location import CONCURRENT_FILES, locate
from pipeline.train.task import RowGroup

STREAMS = 8
"""Row i of a global batch comes from stream i mod 8, so up to 8 workers share no row group."""

COLUMNS = ["input_ids", "label"]
"""Columns that training reads."""

ReadRowGroup: TypeAlias = Callable[[RowGroup], pa.Table]


@dataclass(frozen=True)
class Extent:
    """Consecutive rows of a row group."""

    group: RowGroup
    start: int
    stop: int


def list_row_groups(parts: list[str]) -> list[RowGroup]:
    """Row groups of Parquet files, in order, from the footers.

    Raises:
        InputError: a file is missing, unreadable, or not Parquet.
    """
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        return [group for groups in pool.map(_row_groups, parts) for group in groups]


def _row_groups(part: str) -> list[RowGroup]:
    with locate(part).open_input() as file:
        try:
            footer = pq.read_metadata(file)
        except pa.ArrowInvalid as error:
            raise InputError(f"{part}: not a Parquet file ({error})") from None
    return [RowGroup(part, n, footer.row_group(n).num_rows) for n in range(footer.num_row_groups)]


def read_row_group(group: RowGroup) -> pa.Table:
    """Columns of a row group that training needs."""
    with locate(group.part).open_input() as file:
        return pq.ParquetFile(file).read_row_group(group.number, columns=COLUMNS)


def stream_rows(batch_rows: int, stream: int) -> int:
    """Number of rows that a global batch takes from a stream."""
    return len(range(stream, batch_rows, STREAMS))


def streams_of(rank: int, world: int) -> tuple[range, slice]:
    """Streams that a worker reads, and its slice of the rows that a batch takes from each.

    Up to 8 workers have exclusive streams. More workers share streams: each reads one stream and takes every
    n-th row.
    """
    first = rank % STREAMS
    sharers = len(range(first, max(world, STREAMS), STREAMS))
    return range(first, STREAMS, min(world, STREAMS)), slice(rank // STREAMS, None, sharers)


def deal(groups: list[RowGroup], batch_rows: int, rng: np.random.Generator) -> list[list[Extent]]:
    """Extents of each stream of an epoch.

    A stream has exactly the rows that the batches of the epoch take from it, so all streams end with the last
    batch.

    Args:
        batch_rows: number of rows in a global batch; the last batch of the epoch may be smaller.
    """
    order = [groups[i] for i in rng.permutation(len(groups))]
    ends = np.cumsum([group.rows for group in order], dtype=np.int64)
    full, rest = divmod(sum(group.rows for group in groups), batch_rows)
    sizes = [full * stream_rows(batch_rows, s) + stream_rows(rest, s) for s in range(STREAMS)]
    stops = list(accumulate(sizes))
    return [list(_extents(order, ends, stop - size, stop)) for size, stop in zip(sizes, stops, strict=True)]


def _extents(order: list[RowGroup], ends: IntArray, start: int, stop: int) -> Iterator[Extent]:
    """Extents of rows [start, stop) of concatenated row groups."""
    for number in range(int(np.searchsorted(ends, start, side="right")), len(order)):
        group = order[number]
        before = int(ends[number]) - group.rows
        if before >= stop:
            return
        yield Extent(group, max(0, start - before), min(group.rows, stop - before))


def skip_rows(extents: list[Extent], rows: int) -> list[Extent]:
    """Rest of a stream after its first `rows` rows."""
    left = []
    for extent in extents:
        skipped = min(rows, extent.stop - extent.start)
        rows -= skipped
        if extent.start + skipped < extent.stop:
            left.append(Extent(extent.group, extent.start + skipped, extent.stop))
    return left


def read_stream(extents: list[Extent], sizes: Iterable[int], read: ReadRowGroup) -> Iterator[pa.Table | None]:
    """Next rows of a stream, one table per size; None for 0 rows. One row group is read at a time."""
    tables = (read(e.group).slice(e.start, e.stop - e.start) for e in extents)
    held: list[pa.Table] = []
    rows = 0
    for size in sizes:
        while rows < size:
            held.append(next(tables))
            rows += held[-1].num_rows
        if not size:
            yield None
            continue
        table = pa.concat_tables(held)
        yield table.slice(0, size)
        held, rows = [table.slice(size)], rows - size
