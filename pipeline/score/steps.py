"""Processing of a chunk before and after the model: encode its lines, and commit its rows and rejects."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

import pyarrow as pa

from pipeline.errors import InputError, OutputError
from pipeline.ingest.clean.labels import WORDS
from pipeline.ingest.clean.rows import CARRIED_COLUMNS, TRUE_LABEL, Recipe, keep_lines
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.entry import Entry
from pipeline.ingest.parse.columns import repeated
from pipeline.ingest.parse.formats import ENCODED, Format
from pipeline.ingest.parse.ipc import from_ipc
from pipeline.ingest.parse.parse import RecordLocator, empty_rows
from pipeline.ingest.parse.rejects import Reason, RejectedLine, reject_table
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.stream import (
    SMALL_CHUNK_BYTES,
    Batch,
    ReadPlan,
    batch_table,
    extra_lines,
    read_source,
    to_batch,
    to_chunk,
)
from pipeline.ingest.tokenize.encode import load_encoder
from pipeline.model.card import ModelCard
from pipeline.rundir.parts import part_name, write_part, write_rejects
from pipeline.runtime.crash_guard import MAX_CRASHES, UNGUARDED, CrashGuard, crash_message
from pipeline.score.failed_rows import FAILED_SCHEMA, failed_metadata, split_failed
from pipeline.score.part_metadata import account_metadata
from pipeline.storage.location import locate

_SAMPLE_CHUNKS = 32


@dataclass(frozen=True)
class ChunkWork:
    """Parameters of a task that encodes or writes a chunk; plain data."""

    output: str
    formats: dict[int, Format | str]
    """Format of each file of the input, by number."""
    recipe: Recipe
    tokenizer: str
    card: ModelCard
    run: str
    """Key of the run that the parts belong to; see Run.key."""
    model: str
    """Fingerprint of the model."""
    guard: CrashGuard = UNGUARDED
    """Records the attempts at encoding and writing each chunk."""

    def encode_chunk(self, table: pa.Table) -> pa.Table:
        """Encoded rows and rejected lines of a chunk.

        Raises:
            InputError: workers crashed repeatedly on a chunk of prepared data, which has no lines to reject.
        """
        start = time.monotonic()
        chunk = to_chunk(table)
        header = chunk.header
        with self.guard.attempt("encode", header.file, header.chunk) as crashes:
            if crashes < MAX_CRASHES:
                batch = self.encode(chunk)
            elif self.formats[header.file] == ENCODED:
                raise InputError(f"{header.source}: chunk {header.chunk}: {crash_message(crashes, 'encode')}")
            else:
                batch = self._set_aside(chunk, crash_message(crashes, "encode"))
        timings = {"encode_s": time.monotonic() - start, "encoded_s": time.time()}
        return batch_table(replace(batch, timings=timings))

    def encode(self, chunk: Chunk) -> Batch:
        """Rows of a chunk with their token IDs, and its rejected lines."""
        header, fmt = chunk.header, self.formats[chunk.header.file]
        if fmt == ENCODED:
            rows, rejects, counts = _carried_only(from_ipc(chunk.raw), self.card), None, {}
        else:
            assert isinstance(fmt, Format)
            kept = keep_lines(chunk, fmt, self.recipe)
            rows = _encode(kept.rows, header.source, self.tokenizer, self.recipe)
            rejects = reject_table(header.source, chunk.byte_offset, kept.rejected) if kept.rejected else None
            counts = extra_lines(header, kept.rejected)
        return Batch(header, rows, rejects, counts)

    def _set_aside(self, chunk: Chunk, why: str) -> Batch:
        """The chunk with all of its lines rejected."""
        header, fmt = chunk.header, self.formats[chunk.header.file]
        assert isinstance(fmt, Format)
        locator = RecordLocator(chunk, fmt, self.recipe.parse_options())
        lines = range(header.first_line, header.next_line)
        found = ((line, *locator.locate(line)) for line in lines)
        rejected = [RejectedLine(line, offset, Reason.WORKER_DIED, why, raw) for line, offset, raw in found]
        rows = _encode(empty_rows(), header.source, self.tokenizer, self.recipe)
        rejects = reject_table(header.source, chunk.byte_offset, rejected)
        return Batch(header, rows, rejects, extra_lines(header, rejected))

    def first_rows(self, sources: Iterable[Source], max_rows: int) -> pa.Array:
        """(N,) list<int32>: token IDs of the first rows of the input, at most `max_rows`.

        The result is shorter if the input has fewer rows or starts with long runs of rejected lines.
        """
        found: list[pa.Array] = []
        read = ReadPlan(SMALL_CHUNK_BYTES, limits=self.recipe.limits)
        chunks = (chunk for source in sources for chunk in read_source(source, read))
        for chunk in islice(chunks, _SAMPLE_CHUNKS):
            found.append(self.encode(chunk).rows["input_ids"].combine_chunks())
            if sum(map(len, found)) >= max_rows:
                break
        return pa.concat_arrays(found or [pa.array([], pa.list_(pa.int32()))]).slice(0, max_rows)

    def write_chunk(self, table: pa.Table) -> pa.Table:
        """Commit a scored chunk, rejects first, and return its account.

        A chunk without rows also gets a part, which marks it as committed.

        Raises:
            OutputError: the chunk cannot be written, or workers crashed repeatedly while writing it.
        """
        batch = to_batch(table)
        header = batch.header
        with self.guard.attempt("write", header.file, header.chunk) as crashes:
            if crashes >= MAX_CRASHES:
                part = locate(self.output).child(part_name(header.file, header.chunk))
                raise OutputError(f"{part.uri}: {crash_message(crashes, 'write')}")
            return self._write(batch)

    def _write(self, batch: Batch) -> pa.Table:
        start, header = time.monotonic(), batch.header
        output = locate(self.output)
        rejects, failed = self._split_failed(batch)
        outputs = write_rejects(output, header.file, header.chunk, rejects)
        entry = Entry.of(batch, outputs, failed=failed.num_rows)
        # Without timings: a second attempt writes the same bytes.
        metadata = account_metadata(entry, self.run, self.model) | failed_metadata(failed)
        part = write_part(output, part_name(header.file, header.chunk), batch.rows, metadata)
        timings = batch.timings | {"write_s": time.monotonic() - start}
        return pa.table({"entry": [replace(entry, outputs=[*outputs, part], timings=timings).to_json()]})

    def _split_failed(self, batch: Batch) -> tuple[pa.Table | None, pa.Table]:
        """Rejects to write with the chunk, and rows of FAILED_SCHEMA to restore at the end of the job."""
        if self.formats.get(batch.header.file) == ENCODED:
            # This input contains encoded rows, not their lines.
            return batch.rejects, FAILED_SCHEMA.empty_table()
        return split_failed(batch.rejects)


def _encode(rows: pa.Table, source: str, tokenizer: str, recipe: Recipe) -> pa.Table:
    encoded = load_encoder(tokenizer, recipe.max_length)(rows["text"].combine_chunks())
    columns = {
        "source": repeated(source, rows.num_rows),
        "line": rows["line"],
        **{name: rows[name] for name in CARRIED_COLUMNS},
        **({TRUE_LABEL: rows["word"]} if recipe.word_labels else {}),
        **{name: encoded[name] for name in ("input_ids", "num_tokens", "truncated")},
    }
    return pa.table(columns)


def _carried_only(rows: pa.Table, card: ModelCard) -> pa.Table:
    """Rows of prepared data, with the columns that rows of a dump have; unknown ones are null."""
    types = {"asin": pa.string(), "user_id": pa.string(), "timestamp": pa.timestamp("ms", tz="UTC")}
    types["verified"] = pa.bool_()
    columns = {"source": rows["source"], "line": rows["line"]}
    columns |= {name: pa.nulls(rows.num_rows, kind) for name, kind in types.items()}
    columns["stars"] = rows["stars"]
    if card.scheme == WORDS:
        columns[TRUE_LABEL] = pa.array(card.labels, pa.string()).take(rows["label"])
    return pa.table(columns | {n: rows[n] for n in ("input_ids", "num_tokens", "truncated")})
