"""Access to the bytes of string columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.ingest.tokenize.buffers import binary_array, rows_containing, text_bytes


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (1, 3), (2, 2), (4, 4)])
def test_bytes_of_a_slice(start: int, stop: int) -> None:
    texts = ["ab", "", "cé", "d"]
    column = pa.array(texts).slice(start, stop - start)
    data, starts = text_bytes(column)
    assert data.to_pybytes() == "".join(texts[start:stop]).encode()
    assert binary_array(data.to_pybytes(), starts).to_pylist() == [t.encode() for t in texts[start:stop]]


def test_nulls_and_empty_columns_have_no_bytes() -> None:
    assert text_bytes(pa.array([], pa.string()))[1].tolist() == [0]
    data, starts = text_bytes(pa.array(["a", None, "b"], pa.string()))
    assert (data.to_pybytes(), starts.tolist()) == (b"ab", [0, 1, 1, 2])


def test_rows_containing_positions() -> None:
    # The second row is empty.
    starts = np.array([0, 3, 3, 5])
    assert rows_containing(np.array([0, 2, 3, 4]), starts).tolist() == [0, 2]
    assert rows_containing(np.array([], np.int64), starts).tolist() == []
