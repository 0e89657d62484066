"""The bytes of a column of texts, as NumPy sees them: to look at all rows at once, and cut them anew."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import ByteArray, IntArray


def text_bytes(texts: pa.StringArray) -> tuple[pa.Buffer, IntArray]:
    """The UTF-8 of (N,) texts, one after the other without a gap, and (N + 1,) where each row begins in it.

    Shares memory with the column. Where a text is null there are no bytes.
    """
    bounds = _offsets(texts)
    first, last = int(bounds[0]), int(bounds[-1])
    data = (texts.buffers()[2] or pa.py_buffer(b"")).slice(first, last - first)
    return data, bounds.astype(np.int64) - first


def _offsets(texts: pa.StringArray) -> npt.NDArray[np.int32]:
    """(N + 1,) where each text begins in the data of its array, and the end of the last."""
    if not len(texts):
        # An array without rows need not have offsets.
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4)


def rows_at(places: IntArray, starts: IntArray) -> IntArray:
    """The rows that some bytes, or other things of which rows consist, are in; each once, in order.

    Args:
        places: of the bytes, rising.
        starts: (N + 1,) where each row begins, and the end of the last.
    """
    return np.unique(np.searchsorted(starts, places, side="right") - 1)


def binary_array(data: bytes | ByteArray, starts: IntArray) -> pa.BinaryArray:
    """(N,) values that stand one after the other in some bytes.

    Args:
        starts: (N + 1,) where each begins, and the end of the last.
    """
    offsets = pa.py_buffer(starts.astype(np.int32))
    return pa.BinaryArray.from_buffers(pa.binary(), len(starts) - 1, [None, offsets, pa.py_buffer(data)])


def take_slices(values: npt.NDArray[np.int32], starts: IntArray, lengths: IntArray) -> npt.NDArray[np.int32]:
    """Slices of an array, one after the other.

    Args:
        values: (T,) what they are cut from.
        starts: (S,) where each begins in `values`.
        lengths: (S,) values in each; may be 0.
    """
    return values[slice_positions(starts, lengths)]


def slice_positions(starts: IntArray, lengths: IntArray) -> IntArray:
    """(Σ lengths,) int64: the positions of slices of an array, one slice after the other.

    Args:
        starts, lengths: (S,) as `take_slices`.
    """
    ends = np.cumsum(lengths)
    positions = np.repeat(starts - ends + lengths, lengths)
    positions += np.arange(len(positions))
    return positions
