"""First pass of prepare for one chunk: encode rows and assign them to splits, or reject them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.arrays import IntArray
from pipeline.config import SplitConfig
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.clean.text import key_hash, text_hash
from pipeline.ingest.entry import Entry
from pipeline.ingest.parse.columns import repeated
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.rejects import reject_table
from pipeline.ingest.read.chunks import ChunkHeader
from pipeline.ingest.stream import Batch, extra_lines, to_chunk
from pipeline.ingest.tokenize.encode import load_encoder
from pipeline.prepare.buckets import BUCKET_SCHEMA
from pipeline.prepare.split import Boundary, assign, assign_by_time
from pipeline.prepare.split_keys import KEY_COLUMNS, keys_of
from pipeline.rundir.parts import part_name, write_part, write_rejects
from pipeline.storage.location import locate

ENCODED = "encoded"
"""Temporary folder of the output: encoded rows before the shuffle."""

KEYLESS = "rows_without_key"
"""Name of the count of rows without the user or product by which they are split."""


@dataclass(frozen=True)
class ChunkEncoder:
    """Parameters of a worker that encodes chunks; plain data."""

    output: str
    formats: dict[int, Format]
    """Format of each file of the input, by number."""
    recipe: Recipe
    tokenizer: str
    split: SplitConfig
    boundary: Boundary | None

    def encode_chunk(self, table: pa.Table) -> pa.Table:
        """Write the rows of a chunk to encoded/, its rejects to rejects/, and return its account."""
        chunk = to_chunk(table)
        header = chunk.header
        kept = keep_lines(chunk, self.formats[header.file], self.recipe)
        rows = self._encode(header, kept.rows)
        rejects = reject_table(header.source, chunk.byte_offset, kept.rejected) if kept.rejected else None
        counts = {KEYLESS: self._count_keyless(kept.rows), **extra_lines(header, kept.rejected)}
        batch = Batch(header, rows, rejects, counts)
        output = locate(self.output)
        outputs = write_rejects(output, header.file, header.chunk, batch.rejects)
        if rows.num_rows:
            name = f"{ENCODED}/{part_name(header.file, header.chunk)}"
            outputs.append(write_part(output, name, rows, temporary=True))
        return pa.table({"entry": [Entry.of(batch, outputs).to_json()]})

    def _encode(self, header: ChunkHeader, kept: pa.Table) -> pa.Table:
        """Rows of rows.keep_lines as rows with buckets.BUCKET_SCHEMA."""
        texts = kept["text"].combine_chunks()
        encoded = load_encoder(self.tokenizer, self.recipe.max_length)(texts)
        hashes = text_hash(texts)
        columns = {
            "source": repeated(header.source, kept.num_rows),
            "line": kept["line"],
            "text_hash": hashes[:, 0],
            "text_hash_low": hashes[:, 1],
            **{name: kept[name] for name in ("stars", "label", "timestamp")},
            **{name: encoded[name] for name in encoded.column_names},
            "split": self._assign(header, kept, hashes[:, 0]),
            "file": np.full(kept.num_rows, header.file, np.int32),
        }
        return pa.table({name: columns[name] for name in BUCKET_SCHEMA.names}, schema=BUCKET_SCHEMA)

    def _count_keyless(self, kept: pa.Table) -> int:
        return keys_of(kept, self.split.by).null_count if self.split.by in KEY_COLUMNS else 0

    def _assign(self, header: ChunkHeader, kept: pa.Table, hashes: IntArray) -> npt.NDArray[np.int8]:
        if self.split.by == "time":
            return assign_by_time(kept["timestamp"].cast(pa.int64()).to_numpy(), self.split)
        if self.split.by in KEY_COLUMNS:
            hashes = key_hash(keys_of(kept, self.split.by), hashes)
        return assign(hashes, kept["line"].to_numpy(), header.file, self.split, self.boundary)
