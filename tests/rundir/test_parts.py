"""Part files: names, metadata, and identical bytes for the same table."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest.parse.rejects import Reason, RejectedLine, reject_table
from pipeline.rundir.parts import ENTRY_KEY, part_name, write_part, write_rejects
from pipeline.storage.location import locate

TABLE = pa.table({"line": pa.array([1, 2], pa.int64()), "input_ids": [[1, 2], [3]]})


def test_names_sort_as_their_numbers() -> None:
    assert part_name(0, 0) == "part-00000-000000.parquet"
    assert part_name(12, 345) == "part-00012-000345.parquet"
    keys = [(0, 9), (0, 10), (0, 999_999), (1, 0), (10, 0), (99_999, 5)]
    assert sorted(part_name(*key) for key in keys) == [part_name(*key) for key in keys]


def test_part_contains_the_table_and_its_metadata(tmp_path: Path) -> None:
    written = write_part(locate(tmp_path), "train/a.parquet", TABLE, {ENTRY_KEY: b"{}"})
    file = tmp_path / "train" / "a.parquet"
    assert pq.read_table(file).equals(TABLE)
    assert pq.read_metadata(file).metadata[ENTRY_KEY] == b"{}"
    assert (written.path, written.rows, written.bytes) == ("train/a.parquet", 2, file.stat().st_size)


def test_bytes_of_a_part_are_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_part(locate(tmp_path), name, TABLE.slice(0), {b"k": b"v"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("rows", [0, 1, 100_000])
def test_part_of_any_size_has_at_most_one_row_group(tmp_path: Path, rows: int) -> None:
    written = write_part(locate(tmp_path), "a", pa.table({"line": pa.array(range(rows), pa.int64())}))
    file = pq.ParquetFile(tmp_path / "a")
    assert file.metadata.num_rows == written.rows == rows
    assert file.num_row_groups <= 1
    assert file.schema_arrow.names == ["line"]


def test_rejects_are_written_only_if_there_are_any(tmp_path: Path) -> None:
    here = locate(tmp_path)
    assert write_rejects(here, 0, 0, None) == []
    assert write_rejects(here, 0, 0, reject_table("a", 0, [])) == []
    assert list(tmp_path.iterdir()) == []
    table = reject_table("a", 100, [RejectedLine(3, 7, Reason.BAD_JSON, "why", b"\xff{")])
    (written,) = write_rejects(here, 2, 5, table)
    assert written.path == "rejects/part-00002-000005.parquet"
    assert pq.read_table(tmp_path / written.path).to_pylist() == [
        {
            "source": "a",
            "line": 3,
            "byte_offset": 107,
            "reason": "bad_json",
            "detail": "why",
            "raw": b"\xff{",
        }
    ]
