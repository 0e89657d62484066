"""Part files: one for a chunk, named after its file and number, written in one piece."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.manifest import OutputFile
from pipeline.storage import Location

ENTRY_KEY = b"rayview.entry"
"""Key in a part's Parquet metadata under which the account of its chunk is kept."""


def part_name(file: int, chunk: int) -> str:
    """`part-<file>-<chunk>.parquet`: which input file, and which chunk of it."""
    return f"part-{file:05d}-{chunk:06d}.parquet"


def write_part(
    directory: Location,
    name: str,
    table: pa.Table,
    metadata: dict[bytes, bytes] | None = None,
    *,
    row_group_rows: int | None = None,
    temporary: bool = False,
) -> OutputFile:
    """Write a table as Parquet; the same table gives the same bytes.

    Args:
        name: path of the file below `directory`.
        metadata: kept in the file beside the schema.
        row_group_rows: rows in a row group; by default all are in one, as a part is read whole.
        temporary: whether it is only read again by this job: then it is written in half the time, and is
            a third larger.
    """
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    sink = io.BytesIO()
    # Dictionaries of ids or numbers take longer and pack worse than the bare values.
    options: dict[str, Any] = {"use_dictionary": [f.name for f in table.schema if _is_text(f.type)]}
    if temporary:
        bytes_apart = [f"{f.name}.list.element" for f in table.schema if f.type == pa.list_(pa.int32())]
        options |= {"compression": "lz4", "column_encoding": dict.fromkeys(bytes_apart, "BYTE_STREAM_SPLIT")}
        options["write_statistics"] = False
    else:
        # zstd packs ids by half.
        options["compression"] = "zstd"
    pq.write_table(table, sink, row_group_size=row_group_rows or max(1, table.num_rows), **options)
    data = sink.getbuffer()
    directory.child(name).write_bytes(data, durable=not temporary)
    return OutputFile(path=name, rows=table.num_rows, bytes=len(data))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind))


def write_rejects(directory: Location, file: int, chunk: int, rejects: pa.Table | None) -> list[OutputFile]:
    """Write the rejected lines of a chunk, if there are any, to rejects/."""
    if rejects is None or not rejects.num_rows:
        return []
    return [write_part(directory, f"rejects/{part_name(file, chunk)}", rejects)]
