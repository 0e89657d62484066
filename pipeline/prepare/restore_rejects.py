"""Lines of the rows that deduplication removed, restored by a second read of the dumps.

Duplicates are known only after the shuffle, and carrying every line through it would double the shuffled
bytes. So the removed rows are sorted by position, and one pass over each file finds their lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.arrays import IntArray
from pipeline.errors import AccountingError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.lines import LineFinder
from pipeline.ingest.parse.formats import ParseOptions
from pipeline.ingest.stream import ReadPlan
from pipeline.progress import Reporter
from pipeline.rundir.manifest import OutputFile
from pipeline.rundir.parts import write_part
from pipeline.runtime.malloc import release_freed_memory
from pipeline.runtime.pools import Pool
from pipeline.runtime.ray_data import iter_tables, map_batches, table_dataset, task_dataset
from pipeline.storage.location import locate

REMOVED = "removed"
"""Temporary folder of the output: rows that deduplication removed."""

REMOVED_SCHEMA = pa.schema(
    [
        ("file", pa.int32()),
        ("line", pa.int64()),
        ("reason", pa.dictionary(pa.int32(), pa.string())),
        ("detail", pa.string()),
    ]
)

_RANGE_LINES = 1 << 16
"""Lines of the input whose removed rows one process holds in memory at a time."""

_MAX_RANGES = 4096
_PARTS_A_TASK = 16


@dataclass(frozen=True)
class Ranges:
    """Division of the concatenated lines of all files into ranges of `width` lines; plain data."""

    firsts: tuple[int, ...]
    """Number of lines before each file, and the total."""
    width: int

    @classmethod
    def of(cls, lines: Sequence[int]) -> Ranges:
        """Ranges of files with the given numbers of lines."""
        firsts = [0, *np.cumsum(lines).tolist()]
        return cls(tuple(firsts), max(_RANGE_LINES, -(-firsts[-1] // _MAX_RANGES)))

    def edges(self) -> list[int]:
        """First place of each range except the first; at least one, otherwise Ray samples the bounds."""
        return list(range(self.width, max(self.firsts[-1], self.width + 1), self.width))

    def places(self, rows: pa.Table) -> IntArray:
        """(N,) int64: number of lines of the input before each row of a table with REMOVED_SCHEMA."""
        firsts = np.array(self.firsts, np.int64)
        return np.asarray(firsts[rows["file"].to_numpy()] + rows["line"].to_numpy() - 1)

    def of_file(self, file: int) -> range:
        """Numbers of the ranges that contain lines of a file."""
        first, end = self.firsts[file : file + 2]
        return range(first // self.width, -(-end // self.width))


@dataclass(frozen=True)
class Restore:
    """Parameters of the tasks; plain data."""

    output: str
    read: ReadPlan
    options: ParseOptions
    ranges: Ranges

    def load(self, parts: list[str]) -> pa.Table:
        """Several parts with REMOVED_SCHEMA as one table, with an added column `place`."""
        release_freed_memory()
        rows = pa.concat_tables([_read(self.output, name) for name in parts]).unify_dictionaries()
        return rows.append_column("place", pa.array(self.ranges.places(rows)))

    def write_range(self, rows: pa.Table) -> pa.Table:
        """Write the rows of a range in order, and return the number of the range."""
        release_freed_memory()
        if not rows.num_rows:
            return pa.table({"range": pa.array([], pa.int64())})
        number = rows["place"][0].as_py() // self.ranges.width
        rows = rows.sort_by("place").select(REMOVED_SCHEMA.names)
        write_part(locate(self.output), _range_name(number), rows, temporary=True)
        return pa.table({"range": [number]})

    def read_file(self, source: Source, found: frozenset[int]) -> Iterator[pa.Table]:
        """Write the rejects of a file to rejects/, one range at a time, and yield a description of each file.

        Args:
            found: numbers of the ranges that have rows.
        """
        release_freed_memory()
        finder = LineFinder(source, self.read, self.options)
        for number in sorted(found.intersection(self.ranges.of_file(source.number))):
            rows = self._removed(source.number, number)
            if not rows.num_rows:
                continue
            table = finder.rejects(rows)
            name = f"rejects/duplicates-{source.number:05d}-{number:05d}.parquet"
            written = write_part(locate(self.output), name, table)
            del table
            release_freed_memory()
            yield pa.table({"output": [written.model_dump_json()]})

    def _removed(self, file: int, number: int) -> pa.Table:
        """Rows of a range that belong to one file, in order of line."""
        rows = _read(self.output, _range_name(number)).combine_chunks()
        files = rows["file"].to_numpy()
        first, end = np.searchsorted(files, [file, file + 1]).tolist()
        return rows.slice(first, end - first)


def _range_name(number: int) -> str:
    return f"{REMOVED}/range-{number:05d}.parquet"


def _read(output: str, name: str) -> pa.Table:
    with locate(output).child(name).open_input() as file:
        return pq.read_table(file, schema=REMOVED_SCHEMA)


def restore_lines(
    parts: list[OutputFile], sources: list[Source], work: Restore, pool: Pool, reporter: Reporter
) -> list[OutputFile]:
    """Write removed rows to rejects/, each with its original line from the dump.

    Args:
        parts: files of the output with REMOVED_SCHEMA, in any order.
        sources: files of the input that have removed rows.
    Raises:
        InputError: a file of the input can no longer be read, or has changed.
        AccountingError: not every row was written.
    """
    rows = sum(p.rows or 0 for p in parts)
    if not rows:
        return []
    found = frozenset(_sort(parts, work, pool))
    # Keyed by name: a retried task writes the same file again.
    outputs: dict[str, OutputFile] = {}
    done = 0
    dataset = task_dataset([partial(work.read_file, source, found) for source in sources], pool)
    with reporter.meter("rejects") as meter:
        for table in iter_tables(dataset):
            for output in map(OutputFile.model_validate_json, table["output"].to_pylist()):
                outputs[output.path] = output
            done = sum(o.rows or 0 for o in outputs.values())
            meter.update(done, done / rows)
            reporter.refresh()
    if done != rows:
        raise AccountingError(f"{work.output}: {rows} rows were duplicates, {done} of them are in rejects/")
    return [outputs[path] for path in sorted(outputs)]


def _sort(parts: list[OutputFile], work: Restore, pool: Pool) -> list[int]:
    """Sort the removed rows from parts in order of text to ranges in order of the dumps.

    Returns:
        Numbers of the ranges that have rows.
    """
    names = [p.path for p in parts]
    groups = [names[i : i + _PARTS_A_TASK] for i in range(0, len(names), _PARTS_A_TASK)]
    dataset = table_dataset(work.load, groups, pool).sort("place", boundaries=work.ranges.edges())
    dataset = map_batches(dataset, work.write_range, pool, batch_size=None)
    return [number for table in iter_tables(dataset) for number in table["range"].to_pylist()]
