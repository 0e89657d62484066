"""Committed chunks of a scores directory, from the names and metadata of its parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq

from pipeline.arrays import IntArray
from pipeline.errors import OutputError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.entry import Entry
from pipeline.rundir.manifest import OutputFile, Run
from pipeline.rundir.parts import part_name
from pipeline.score.part_metadata import AccountError, read_account
from pipeline.storage.explain import explain, is_store_error
from pipeline.storage.location import CONCURRENT_FILES, Location

_PART = re.compile(r"part-(\d{5,})-(\d{6,})\.parquet")
_BATCH = 1024


@dataclass(frozen=True)
class Committed:
    """Committed chunks of one input file."""

    numbers: IntArray
    """(N,) int64, ascending."""
    joined: int
    """Length of the contiguous prefix."""
    ended: bool
    """Whether all chunks of the file are committed."""
    bytes_read: int
    """Stored bytes of the input file up to the end of the contiguous prefix."""

    @property
    def done(self) -> Done:
        """Chunks that a reader skips."""
        return Done(self.joined, frozenset(self.numbers[self.joined :].tolist()))


@dataclass(frozen=True)
class Done:
    """Numbers of committed chunks: a contiguous prefix, and individual numbers after it."""

    below: int
    others: frozenset[int]

    def __contains__(self, chunk: object) -> bool:
        return isinstance(chunk, int) and (chunk < self.below or chunk in self.others)


def find_committed(output: Location, run: Run) -> dict[int, Committed]:
    """Committed chunks of each file, by file number.

    Only one part per file is opened, the last of the contiguous prefix, so a million parts take seconds.

    Raises:
        OutputError: that part cannot be read or belongs to another run, or a part has a file number that the
            input does not have.
    """
    found = [m.groups() for name in output.sizes(recursive=False) if (m := _PART.fullmatch(name))]
    # (N, 2): file and chunk.
    pairs = np.array(found, np.int64).reshape(-1, 2)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    if len(pairs) and pairs[-1, 0] >= len(run.inputs):
        name = part_name(*pairs[-1].tolist())
        raise OutputError(
            f"{output.child(name).uri}: the input has no file with this number; move the part away"
        )
    files, starts = np.unique(pairs[:, 0], return_index=True)
    chunks = dict(zip(files.tolist(), np.split(pairs[:, 1], starts[1:]), strict=True)) if len(files) else {}
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        found_of = pool.map(lambda item: _of_file(output, run, *item), chunks.items())
        return dict(zip(chunks, found_of, strict=True))


def _of_file(output: Location, run: Run, file: int, numbers: IntArray) -> Committed:
    joined = int((numbers == np.arange(len(numbers))).sum())
    if not joined:
        return Committed(numbers, 0, ended=False, bytes_read=0)
    end = _read_entry(output.child(part_name(file, joined - 1)), run).header
    return Committed(numbers, joined, end.last, end.bytes_read)


def unfinished_sources(
    sources: Sequence[Source], max_rows: int | None, committed: Mapping[int, Committed]
) -> list[Source]:
    """Files that still must be read; all of them with `max_rows`, which counts lines over all files."""
    if max_rows is not None:
        return list(sources)
    return [s for s in sources if s.number not in committed or not committed[s.number].ended]


def committed_entries(output: Location, run: Run, committed: Mapping[int, Committed]) -> Iterator[Entry]:
    """Accounts of committed chunks, from the metadata of their parts.

    Raises:
        OutputError: a part cannot be read or belongs to another run.
    """
    names = [part_name(file, n) for file, of_file in committed.items() for n in of_file.numbers.tolist()]
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        for batch in _batches(names):
            yield from pool.map(lambda name: _read_entry(output.child(name), run), batch)


def _batches(names: list[str]) -> Iterable[list[str]]:
    return (names[i : i + _BATCH] for i in range(0, len(names), _BATCH))


def _read_entry(part: Location, run: Run) -> Entry:
    try:
        with part.open_input() as file:
            footer = pq.read_metadata(file)
            size = file.size()
        entry = read_account(part.name, footer.metadata or {}, run)
        own = OutputFile(path=part.name, rows=footer.num_rows, bytes=size)
        return replace(entry, outputs=[*entry.outputs, own])
    except AccountError as fault:
        raise OutputError(f"{part.uri}: {fault}; move it away and rerun the command") from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and is_store_error(error):
            raise OutputError(f"{part.uri}: cannot be read: {explain(error)}") from None
        raise OutputError(
            f"{part.uri}: not a complete part of this job; delete it and rerun the command"
        ) from None
