"""Serialization of tables as Arrow IPC, to carry a table in one value of a binary column."""

from __future__ import annotations

import pyarrow as pa


def to_ipc(table: pa.Table) -> pa.Buffer:
    """Arrow IPC stream of a table, as one record batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue()


def from_ipc(buffer: pa.Buffer | bytes) -> pa.Table:
    """Table of an Arrow IPC stream."""
    return pa.ipc.open_stream(buffer).read_all()
