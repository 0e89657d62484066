"""Rows of different lengths and their division into batches, without a Python loop over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.arrays import IntArray, TokenArray

_ID_BYTES = 4

WIDTH_STEP = 8
"""Padded widths are multiples of this. For each new shape, a math library needs set-up time and memory that
it never frees (a trainer on a CPU grew by 100 MB per minute), and GPUs multiply in units of eight."""


@dataclass(frozen=True)
class Ragged:
    """N concatenated rows of token IDs."""

    values: TokenArray
    """(T,) int32: IDs of all rows."""
    offsets: IntArray
    """(N + 1,) int64: start of each row in `values`, and the end of the last row."""

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Ragged:
        """The rows of a column; zero-copy if it is contiguous.

        Args:
            column: (N,) list<int32>.
        """
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        offsets = column.offsets.to_numpy().astype(np.int64)
        return cls(column.values.to_numpy(), offsets)

    @property
    def lengths(self) -> IntArray:
        """(N,) int64: number of IDs in each row."""
        return np.diff(self.offsets)

    def head(self, max_rows: int) -> Ragged:
        """The first rows."""
        offsets = self.offsets[: max_rows + 1]
        return Ragged(self.values[: offsets[-1]], offsets)

    def distinct(self) -> tuple[Ragged, IntArray]:
        """Distinct rows in order of first occurrence, and (N,) the index of the distinct row of each row."""
        first, last = int(self.offsets[0]), int(self.offsets[-1])
        data = pa.py_buffer(np.ascontiguousarray(self.values[first:last], np.int32))
        starts = pa.py_buffer(((self.offsets - first) * _ID_BYTES).astype(np.int64))
        rows = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(self.offsets) - 1, [None, starts, data]
        ).dictionary_encode()
        _, bounds, values = rows.dictionary.buffers()
        offsets = np.frombuffer(bounds, np.int64, len(rows.dictionary) + 1)
        ids = np.frombuffer(values or b"", np.int32, int(offsets[-1]) // _ID_BYTES)
        return Ragged(ids, offsets // _ID_BYTES), rows.indices.to_numpy().astype(np.int64)

    def pad(self, rows: IntArray, pad_id: int, max_width: int) -> tuple[IntArray, IntArray]:
        """A padded batch.

        Args:
            rows: (B,) row numbers, B at least 1.
            pad_id: token ID that pads shorter rows.
            max_width: see `padded_width`.
        Returns:
            input_ids and attention_mask, both (B, L) int64.
        """
        starts, lengths = self.offsets[rows], self.lengths[rows]
        column = np.arange(padded_width(int(lengths.max()), max_width))
        mask = column < lengths[:, None]
        ids = np.full(mask.shape, pad_id, np.int64)
        ids[mask] = self.values[(starts[:, None] + column)[mask]]
        return ids, mask.astype(np.int64)


def padded_width(length: int, max_width: int) -> int:
    """Next multiple of WIDTH_STEP, at most `max_width`, the maximum that the model supports."""
    return max(1, length, min(max_width, round_up(length, WIDTH_STEP)))


def round_up(count: int, step: int) -> int:
    """Smallest multiple of `step` that is at least `count`."""
    return -(-count // step) * step


def token_budget_batches(lengths: IntArray, budget: int, max_width: int) -> list[IntArray]:
    """Divide rows into batches of similar length.

    Rows are sorted by descending length, so the largest batch comes first and an out-of-memory error shows
    early.

    Args:
        lengths: (N,) number of IDs in each row.
        budget: maximum IDs in a batch, including padding; a longer row is a batch by itself.
        max_width: see `padded_width`.
    Returns:
        Row numbers of each batch; each row is in exactly one batch. The same lengths give the same batches.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = padded_width(int(lengths[order[start]]), max_width)
        stop = start + max(1, budget // width)
        batches.append(order[start:stop])
        start = stop
    return batches


def packed_batches(lengths: IntArray, budget: int) -> list[IntArray]:
    """Divide rows into batches without padding.

    Rows are sorted by descending length, as in `token_budget_batches`; a batch may have rows of any length.

    Args:
        lengths: (N,) number of IDs in each row.
        budget: maximum IDs in a batch; a longer row is a batch by itself.
    Returns:
        As for `token_budget_batches`.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    batches, start, before = [], 0, 0
    while start < len(order):
        stop = max(start + 1, int(np.searchsorted(ends, before + budget, side="right")))
        batches.append(order[start:stop])
        start, before = stop, int(ends[stop - 1])
    return batches
