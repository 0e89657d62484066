"""Part files: one for a chunk, named after its file and number, written in one piece and sealed.

The seal is a checksum over the whole file, kept in its Parquet metadata: whatever changes a byte of it later,
or cuts it short, is found by reading it.
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
"""Key in a part's Parquet metadata under which the account of its chunk is kept."""

SEAL_KEY = b"rayview.xxh3_128"
"""Key of the checksum: of the file's bytes, with zeros in its own place."""

_NO_SEAL = b"0" * 32

_PARQUET_END = 8
"""Bytes at the end of a Parquet file: how long its footer is, and PAR1."""


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
    """Write a table as Parquet, sealed unless it is temporary; the same table gives the same bytes.

    Args:
        name: path of the file below `directory`.
        metadata: kept in the file beside the schema.
        row_group_rows: rows in a row group; by default all are in one, as a part is read whole.
        temporary: whether it is only read again by this job: then it is written in half the time, and is
            a third larger.
    """
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
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        writer.write_table(table, row_group_size=row_group_rows or max(1, table.num_rows))
        writer.add_key_value_metadata((metadata or {}) | ({} if temporary else {SEAL_KEY: _NO_SEAL}))
    data = sink.getbuffer()
    if not temporary:
        place = _seal_place(data, _NO_SEAL)
        data[place] = _checksum(data)
    directory.child(name).write_bytes(data, durable=not temporary, retry=True)
    return OutputFile(path=name, rows=table.num_rows, bytes=len(data))


@dataclass(frozen=True)
class Part:
    """What a part file says of itself."""

    metadata: dict[bytes, bytes]
    rows: int
    bytes: int


def check_part(file: Location) -> Part:
    """Read a part file whole and hold it against its seal.

    Raises:
        ValueError: it is not what was written: no Parquet, without a seal, or with another checksum.
        InputError: it cannot be read.
    """
    data = bytearray(file.read_bytes())
    try:
        footer = pq.read_metadata(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not a whole Parquet file ({error})") from None
    metadata = footer.metadata or {}
    seal = metadata.get(SEAL_KEY)
    if seal is None:
        raise ValueError("has no checksum; rayview did not write it")
    place = _seal_place(data, seal)
    data[place] = _NO_SEAL
    if _checksum(data) != seal:
        raise ValueError("its bytes are not those that were written; the checksum differs")
    return Part(metadata, footer.num_rows, len(data))


def _seal_place(data: bytearray | memoryview, seal: bytes) -> slice:
    """Where a seal stands in a file: behind its key, in the footer."""
    footer_at = len(data) - _PARQUET_END - int.from_bytes(data[-_PARQUET_END:-4], "little")
    footer = bytes(data[footer_at:])
    start = footer_at + footer.index(seal, footer.rindex(SEAL_KEY))
    return slice(start, start + len(seal))


def _checksum(data: bytearray | memoryview) -> bytes:
    return xxhash.xxh3_128_hexdigest(data).encode()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind))


def write_rejects(directory: Location, file: int, chunk: int, rejects: pa.Table | None) -> list[OutputFile]:
    """Write the rejected lines of a chunk, if there are any, to rejects/."""
    if rejects is None or not rejects.num_rows:
        return []
    return [write_part(directory, f"rejects/{part_name(file, chunk)}", rejects)]
