"""Rows that the model failed on: listed by the parts of their chunks, and restored from the dumps at the end.

The scoring step has token IDs and line numbers, but no lines, so a part lists its failed rows in its
metadata. Before the manifest is written, one pass over each file with failed rows writes them with their
lines to `rejects/failed-<file>.parquet`. A part is never rewritten; an interrupted pass is repeated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import AccountingError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.entry import Entry
from pipeline.ingest.lines import LineFinder
from pipeline.ingest.parse.formats import ParseOptions
from pipeline.ingest.stream import SMALL_CHUNK_BYTES, ReadPlan
from pipeline.progress import Reporter
from pipeline.rundir.manifest import OutputFile
from pipeline.rundir.parts import check_part, part_name, write_part
from pipeline.runtime.pools import Pool
from pipeline.runtime.ray_data import iter_tables, task_dataset
from pipeline.score.part_metadata import RUN_KEY
from pipeline.storage.location import Location, locate

FAILED_KEY = b"rayview.failed"
"""Key in a part's Parquet metadata; its value lists the rows of the chunk that the model failed on."""

FAILED_SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("detail", pa.string())])

FAILED_NAME = re.compile(r"rejects/failed-(\d{5,})(?:-(\d{5,}))?\.parquet")
"""Names of the files that hold such rows; the groups are the arguments of `failed_name`."""

MAX_ROWS = 1 << 17
"""Rows of one output file; each has up to 4 KiB of its line in memory."""


def split_failed(rejects: pa.Table | None) -> tuple[pa.Table | None, pa.Table]:
    """Rejects whose lines are known, and rows of FAILED_SCHEMA, whose lines are restored later."""
    if rejects is None or not rejects["raw"].null_count:
        return rejects, FAILED_SCHEMA.empty_table()
    unknown = pc.is_null(rejects["raw"])
    failed = rejects.filter(unknown).select(FAILED_SCHEMA.names).cast(FAILED_SCHEMA).sort_by("line")
    return rejects.filter(pc.invert(unknown)), failed


def failed_metadata(failed: pa.Table) -> dict[bytes, bytes]:
    """Failed rows of a chunk for the metadata of its part; nothing if there are none."""
    if not failed.num_rows:
        return {}
    lines: dict[tuple[str, str], list[int]] = {}
    for row in failed.to_pylist():
        lines.setdefault((row["reason"], row["detail"]), []).append(row["line"])
    return {FAILED_KEY: json.dumps([[*why, of_these] for why, of_these in lines.items()]).encode()}


def read_failed(metadata: Mapping[bytes, bytes]) -> pa.Table:
    """Failed rows of a chunk in order of line, from the metadata of its part."""
    groups = json.loads(metadata.get(FAILED_KEY, b"[]"))
    rows = [
        {"line": n, "reason": reason, "detail": detail} for reason, detail, lines in groups for n in lines
    ]
    return pa.Table.from_pylist(rows, FAILED_SCHEMA).sort_by("line")


def failed_name(file: int, number: int = 0) -> str:
    """Name of an output file with failed rows.

    Args:
        file: number of the input file.
        number: number of the output file among those of the input file.
    """
    more = f"-{number:05d}" if number else ""
    return f"rejects/failed-{file:05d}{more}.parquet"


def group_failed(names: Iterable[str]) -> dict[int, list[str]]:
    """Names of the files with failed rows, by number of the input file, in the order of their rows."""
    found = [match for name in names if (match := FAILED_NAME.fullmatch(name))]
    groups: dict[int, list[str]] = {}
    # By number: "failed-00000-00001.parquet" sorts before "failed-00000.parquet".
    for match in sorted(found, key=lambda m: (int(m[1]), int(m[2] or 0))):
        groups.setdefault(int(match[1]), []).append(match[0])
    return groups


def holds_rows(directory: Location, names: list[str], source: str, expected: pa.Table) -> bool:
    """Whether files of rejected lines hold exactly these rows of a source, in this order.

    Args:
        names: names of the files, in order.
        expected: rows of FAILED_SCHEMA.
    """
    tables = []
    for name in names:
        with directory.child(name).open_input() as file:
            tables.append(pq.read_table(file, columns=["source", *FAILED_SCHEMA.names]))
    rows = pa.concat_tables(tables, promote_options="permissive")
    if set(rows["source"].to_pylist()) - {source}:
        return False
    return bool(rows.select(FAILED_SCHEMA.names).cast(FAILED_SCHEMA).equals(expected))


@dataclass(frozen=True)
class FailedRows:
    """Parameters of a task that writes the failed rows of an input file; plain data."""

    output: str
    run: str
    """Key of the run; see Run.key."""
    options: ParseOptions
    max_rows: int = MAX_ROWS

    def write_file(self, source: Source, chunks: Sequence[int]) -> Iterator[pa.Table]:
        """Write the failed rows of a file, and yield a description of each file written.

        Args:
            chunks: ascending numbers of the chunks that have failed rows.
        Raises:
            InputError: the file cannot be read or has changed.
        """
        output = locate(self.output)
        read = ReadPlan(SMALL_CHUNK_BYTES, limits=self.options.limits)
        finder = LineFinder(source, read, self.options)
        for number, failed in enumerate(_batches(self._failed(output, source.number, chunks), self.max_rows)):
            table = finder.rejects(failed)
            name = failed_name(source.number, number)
            written = write_part(output, name, table, {RUN_KEY: self.run.encode()})
            yield pa.table({"output": [written.model_dump_json()]})

    def _failed(self, output: Location, file: int, chunks: Sequence[int]) -> Iterator[pa.Table]:
        for chunk in chunks:
            with output.child(part_name(file, chunk)).open_input() as part:
                yield read_failed(pq.read_metadata(part).metadata)


def _batches(tables: Iterable[pa.Table], max_rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of at most `max_rows`."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        joined = pa.concat_tables(held)
        while joined.num_rows > max_rows:
            yield joined.slice(0, max_rows)
            joined = joined.slice(max_rows)
        held = [joined]
    yield from (table for table in held if table.num_rows)


def write_failed(
    work: FailedRows, entries: Iterable[Entry], sources: Iterable[Source], pool: Pool, reporter: Reporter
) -> list[OutputFile]:
    """Write the failed rows of all chunks with their lines, one pass over each file that has any.

    Args:
        entries: entries of all chunks, by file and chunk.
        sources: the files of the input.
    Returns:
        The files in rejects/ that contain these rows. A file that an earlier job completed is kept.
    Raises:
        InputError: a file of the input cannot be read or has changed.
        AccountingError: not every row was written.
    """
    failed: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.failed:
            failed.setdefault(entry.header.file, []).append(entry)
    rows = {file: sum(e.failed for e in of_file) for file, of_file in failed.items()}
    outputs = {file: _written_before(work, file, count) for file, count in rows.items()}
    done = {output.path: output for output in outputs.values() if output is not None}
    tasks = [
        partial(work.write_file, source, [e.header.chunk for e in failed[source.number]])
        for source in sources
        if source.number in failed and outputs[source.number] is None
    ]
    if tasks:
        _run(tasks, pool, reporter, done, sum(rows.values()))
    if _rows(done) != sum(rows.values()):
        raise AccountingError(
            f"{work.output}: the model failed on {sum(rows.values())} rows, but {_rows(done)} are in rejects/"
        )
    return [done[path] for path in sorted(done)]


def _run(
    tasks: Sequence[Callable[[], Iterator[pa.Table]]],
    pool: Pool,
    reporter: Reporter,
    done: dict[str, OutputFile],
    rows: int,
) -> None:
    """Run the tasks, and add each file that they write to `done`."""
    dataset = task_dataset(tasks, pool)
    with reporter.meter("rejects") as meter:
        for table in iter_tables(dataset):
            # Keyed by name: a retried task writes the same file again.
            for output in map(OutputFile.model_validate_json, table["output"].to_pylist()):
                done[output.path] = output
            meter.update(_rows(done), _rows(done) / rows)
            reporter.refresh()


def _rows(outputs: Mapping[str, OutputFile]) -> int:
    return sum(output.rows or 0 for output in outputs.values())


def _written_before(work: FailedRows, file: int, rows: int) -> OutputFile | None:
    """File with the failed rows of an input file, if an earlier job completed it.

    It is still valid, because parts never change.
    """
    name = failed_name(file)
    output = locate(work.output).child(name)
    if not output.exists():
        return None
    try:
        part = check_part(output)
    except ValueError:
        return None
    if part.rows != rows or part.metadata.get(RUN_KEY) != work.run.encode():
        return None
    return OutputFile(path=name, rows=part.rows, bytes=part.bytes)
