"""Part files: one per chunk, named after its file and number, written atomically and sealed.

The seal is a checksum of the whole file, stored in its Parquet metadata. It detects every changed byte and
every truncation.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.rundir.manifest import OutputFile
from pipeline.storage.location import Location

ENTRY_KEY = b"rayview.entry"
"""Key in the Parquet metadata of a part; its value is the account of the chunk."""

SEAL_KEY = b"rayview.xxh3_128"
"""Key of the checksum, which is computed over the bytes of the file with zeros instead of the checksum."""

_NO_SEAL = b"0" * 32

_PARQUET_END = 8
"""Bytes at the end of a Parquet file: length of its footer, and PAR1."""


def part_name(file: int, chunk: int) -> str:
    """`part-<file>-<chunk>.parquet`, from the numbers of the input file and of the chunk in it."""
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
    """Write a table as Parquet, sealed unless it is temporary; the same table gives the same bytes.

    Args:
        name: path of the file relative to `directory`.
        metadata: stored in the file next to the schema.
        row_group_rows: rows per row group; by default one group, because a part is read as a whole.
        temporary: whether only this job reads the file; it is written in half the time, but a third larger.
    """
    sink = io.BytesIO()
    # Dictionaries of IDs or numbers take longer and compress worse than plain values.
    options: dict[str, Any] = {"use_dictionary": [f.name for f in table.schema if _is_text(f.type)]}
    if temporary:
        id_columns = [f"{f.name}.list.element" for f in table.schema if f.type == pa.list_(pa.int32())]
        options |= {"compression": "lz4", "column_encoding": dict.fromkeys(id_columns, "BYTE_STREAM_SPLIT")}
        options["write_statistics"] = False
    else:
        # zstd halves the size of IDs.
        options["compression"] = "zstd"
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        writer.write_table(table, row_group_size=row_group_rows or max(1, table.num_rows))
        writer.add_key_value_metadata((metadata or {}) | ({} if temporary else {SEAL_KEY: _NO_SEAL}))
    data = sink.getbuffer()
    if not temporary:
        seal = _seal_slice(data, _NO_SEAL)
        data[seal] = _checksum(data)
    directory.child(name).write_bytes(data, durable=not temporary, retry=True)
    return OutputFile(path=name, rows=table.num_rows, bytes=len(data))


@dataclass(frozen=True)
class Part:
    """Metadata and size of a part file."""

    metadata: dict[bytes, bytes]
    rows: int
    bytes: int


def check_part(file: Location) -> Part:
    """Read a part file and compare it with its seal.

    Raises:
        ValueError: the file is not Parquet, has no seal, or has a wrong checksum.
        InputError: the file cannot be read.
    """
    data = bytearray(file.read_bytes())
    try:
        footer = pq.read_metadata(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not a complete Parquet file ({error})") from None
    metadata = footer.metadata or {}
    seal = metadata.get(SEAL_KEY)
    if seal is None:
        raise ValueError("has no checksum; rayview did not write it")
    data[_seal_slice(data, seal)] = _NO_SEAL
    if _checksum(data) != seal:
        raise ValueError("changed since it was written; the checksum differs")
    return Part(metadata, footer.num_rows, len(data))


def _seal_slice(data: bytearray | memoryview, seal: bytes) -> slice:
    """Position of a seal in a file: after its key, in the footer."""
    footer_at = len(data) - _PARQUET_END - int.from_bytes(data[-_PARQUET_END:-4], "little")
    footer = bytes(data[footer_at:])
    start = footer_at + footer.index(seal, footer.rindex(SEAL_KEY))
    return slice(start, start + len(seal))


def _checksum(data: bytearray | memoryview) -> bytes:
    return xxhash.xxh3_128_hexdigest(data).encode()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind))


def write_rejects(directory: Location, file: int, chunk: int, rejects: pa.Table | None) -> list[OutputFile]:
    """Write the rejected lines of a chunk, if any, to rejects/."""
    if rejects is None or not rejects.num_rows:
        return []
    return [write_part(directory, f"rejects/{part_name(file, chunk)}", rejects)]
