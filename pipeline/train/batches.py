"""Batches of an epoch: shuffled, read in bounded memory, and independent of the number of workers.

The seed and the epoch number determine the sequence of global batches. Every worker contributes the rows of
its streams to each global batch, so all workers take the same number of steps, and a resumed run skips to its
position by counting steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.arrays import IntArray
from pipeline.model.ragged import Ragged
from pipeline.storage.location import locate
from pipeline.train.seeds import derive_seed
from pipeline.train.streams import (
    COLUMNS,
    Extent,
    ReadRowGroup,
    deal,
    read_row_group,
    read_stream,
    skip_rows,
    stream_rows,
    streams_of,
)
from pipeline.train.task import RowGroup

WINDOW_ROWS = 1 << 18
"""Rows of all streams that are held in memory and shuffled together; row groups are shuffled separately."""

_SORTED_ROWS = 1 << 15
"""Rows of all streams that are sorted by length before being cut into batches, which reduces padding."""


@dataclass(frozen=True)
class Rows:
    """N encoded reviews and their classes."""

    ids: Ragged
    labels: IntArray
    """(N,) int64."""

    def __len__(self) -> int:
        return len(self.labels)


NO_ROWS = Rows(Ragged(np.zeros(0, np.int32), np.zeros(1, np.int64)), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Batch:
    """One worker's rows of a global batch."""

    rows: Rows
    """Rows of many batches."""
    numbers: IntArray
    """(B,) indices of this batch into `rows`; B may be 0 in the last batch of an epoch."""
    global_rows: int
    """Rows in the global batch, over all workers."""


PLACEHOLDER = Batch(
    Rows(Ragged(np.zeros(1, np.int32), np.array([0, 1])), np.zeros(1, np.int64)), np.zeros(1, np.int64), 1
)
"""Row for a worker without rows in a batch; every model has token 0 and class 0."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the rows of a split, in an order that all workers can compute."""

    groups: list[RowGroup]
    batch_rows: int
    """Rows in a global batch; only the last batch may be smaller."""
    seed: int
    number: int
    window_rows: int = WINDOW_ROWS

    def batches(
        self, rank: int, world: int, *, first: int = 0, read: ReadRowGroup = read_row_group
    ) -> Iterator[Batch]:
        """One worker's part of each global batch, starting with batch `first`.

        Each row of the split is in exactly one batch, and row i of a batch comes from stream i mod 8.
        """
        windows = self._windows(first)
        streams, share = streams_of(rank, world)
        extents = deal(self.groups, self.batch_rows, self._rng("row groups"))
        readers = [self._read(stream, extents[stream], windows, read) for stream in streams]
        for window, parts in zip(windows, zip(*readers, strict=True), strict=True):
            rows, numbers = _join(parts, share)
            for step in range(max(first, window.start), window.stop):
                yield Batch(rows, numbers[step - window.start], self._rows_in(step))

    def _windows(self, first: int) -> list[range]:
        """Batch numbers of each window, starting with the window that contains batch `first`."""
        length = max(1, self.window_rows // self.batch_rows)
        steps = -(-self._rows // self.batch_rows)
        return [
            range(start, min(steps, start + length)) for start in range(first - first % length, steps, length)
        ]

    def _read(
        self, stream: int, extents: list[Extent], windows: list[range], read: ReadRowGroup
    ) -> Iterator[tuple[Rows, list[IntArray]]]:
        """Rows of one stream in each window, and the indices of the rows of each batch."""
        sizes = [[stream_rows(self._rows_in(step), stream) for step in window] for window in windows]
        # All batches before the first window are full.
        before = windows[0].start * stream_rows(self.batch_rows, stream) if windows else 0
        tables = read_stream(skip_rows(extents, before), map(sum, sizes), read)
        for window, table, counts in zip(windows, tables, sizes, strict=True):
            rows = NO_ROWS if table is None else to_rows(table)
            group = max(1, _SORTED_ROWS // self.batch_rows)
            pieces = _cut(rows.ids.lengths, counts, group, self._rng("rows", window.start, stream))
            yield rows, [pieces[i] for i in self._order(window)]

    def _order(self, window: range) -> IntArray:
        """Random order of the batches of a window, the same for all streams; a short batch stays last."""
        order = np.arange(len(window))
        full = sum(self._rows_in(step) == self.batch_rows for step in window)
        order[:full] = self._rng("batches", window.start).permutation(full)
        return order

    @cached_property
    def _rows(self) -> int:
        return sum(group.rows for group in self.groups)

    def _rows_in(self, step: int) -> int:
        """Rows in a global batch."""
        return min(self.batch_rows, self._rows - step * self.batch_rows)

    def _rng(self, *names: str | int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, "epoch", self.number, *names))


def _cut(
    lengths: IntArray, counts: Sequence[int], group_pieces: int, rng: np.random.Generator
) -> list[IntArray]:
    """Cut shuffled rows into pieces, each with rows of similar length.

    Within each group of `group_pieces` pieces, rows are sorted by length, so pieces with the same number have
    similar lengths in all streams.

    Args:
        lengths: (N,) number of tokens of each row.
        counts: number of rows of each piece; their sum is N.
    """
    permuted = rng.permutation(len(lengths))
    pieces: list[IntArray] = []
    for first in range(0, len(counts), group_pieces):
        *cuts, size = accumulate(counts[first : first + group_pieces])
        group, permuted = permuted[:size], permuted[size:]
        pieces += np.split(group[np.argsort(-lengths[group], kind="stable")], cuts)
    return pieces


def _join(parts: Sequence[tuple[Rows, list[IntArray]]], share: slice) -> tuple[Rows, list[IntArray]]:
    """Concatenated rows of several streams, and the indices of a worker's share of each batch."""
    rows, pieces = zip(*parts, strict=True)
    starts = accumulate(map(len, rows[:-1]), initial=0)
    shifted = [[piece[share] + start for piece in cut] for cut, start in zip(pieces, starts, strict=True)]
    return concat_rows(rows), [np.concatenate(batch) for batch in zip(*shifted, strict=True)]


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """Concatenation of several groups of rows, in order."""
    if len(parts) == 1:
        return parts[0]
    values = [part.ids.values[part.ids.offsets[0] : part.ids.offsets[-1]] for part in parts]
    lengths = np.concatenate([[0], *(part.ids.lengths for part in parts)])
    labels = np.concatenate([part.labels for part in parts])
    return Rows(Ragged(np.concatenate(values), np.cumsum(lengths)), labels)


def read_rows(parts: list[str]) -> Iterator[pa.Table]:
    """Columns that training needs of each part, in the given order."""
    for uri in parts:
        with locate(uri).open_input() as file:
            yield pq.read_table(file, columns=COLUMNS)


def to_rows(table: pa.Table) -> Rows:
    """Rows of an Arrow table."""
    return Rows(Ragged.of(table["input_ids"]), table["label"].to_numpy().astype(np.int64))
