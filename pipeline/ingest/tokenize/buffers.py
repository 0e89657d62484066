"""Zero-copy access to the bytes of a string column, to process all rows at once with NumPy."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.arrays import ByteArray, Int32Array, IntArray


def text_bytes(texts: pa.StringArray) -> tuple[pa.Buffer, IntArray]:
    """Concatenated UTF-8 of (N,) texts, and (N + 1,) int64 offset of each row in it, and of its end.

    Shares memory with the column. Nulls have no bytes.
    """
    bounds = _offsets(texts)
    first, last = int(bounds[0]), int(bounds[-1])
    data = (texts.buffers()[2] or pa.py_buffer(b"")).slice(first, last - first)
    return data, bounds.astype(np.int64) - first


def _offsets(texts: pa.StringArray) -> Int32Array:
    """(N + 1,) offset of each text in the data buffer of its array, and the end of the last."""
    if not len(texts):
        # The offsets buffer of an empty array may be missing.
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4)


def rows_containing(positions: IntArray, starts: IntArray) -> IntArray:
    """Sorted indices of the rows that contain at least one of the positions.

    Args:
        positions: offsets of bytes, or of other elements of rows.
        starts: (N + 1,) offset of each of N rows, and the end of the last.
    """
    return np.unique(np.searchsorted(starts, positions, side="right") - 1)


def binary_array(data: bytes | ByteArray, starts: IntArray) -> pa.BinaryArray:
    """(N,) binary values that are contiguous in a buffer.

    Args:
        starts: (N + 1,) offset of each value, and the end of the last.
    """
    offsets = pa.py_buffer(starts.astype(np.int32))
    return pa.BinaryArray.from_buffers(pa.binary(), len(starts) - 1, [None, offsets, pa.py_buffer(data)])


def take_slices(values: Int32Array, starts: IntArray, lengths: IntArray) -> Int32Array:
    """(Σ lengths,) int32: concatenation of S slices of an array.

    Args:
        values: (T,) array to slice.
        starts: (S,) start of each slice.
        lengths: (S,) length of each slice; may be 0.
    """
    return values[slice_positions(starts, lengths)]


def slice_positions(starts: IntArray, lengths: IntArray) -> IntArray:
    """(Σ lengths,) int64: concatenated positions of S slices of an array.

    Args:
        starts, lengths: (S,) as in `take_slices`.
    """
    ends = np.cumsum(lengths)
    positions = np.repeat(starts - ends + lengths, lengths)
    positions += np.arange(len(positions))
    return positions
