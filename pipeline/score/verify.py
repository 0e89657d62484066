"""Verification that a scores directory is complete and unchanged, and comes from a single run.

Only the directory is read, neither the dumps nor the model. For every input file, the accounts of the parts
must cover all lines from the first to the end of the chunk that is marked last.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow as pa

from pipeline.details import ScoreDetails
from pipeline.errors import InputError
from pipeline.ingest.read.chunks import ChunkHeader
from pipeline.rundir.lease import LEASE_FILE
from pipeline.rundir.manifest import MANIFEST_FILE, RUN_FILE, FileCounts, Run, read_manifest, read_run
from pipeline.rundir.parts import Part, check_part, part_name
from pipeline.rundir.record import Record
from pipeline.score.failed_rows import FAILED_SCHEMA, failed_name, group_failed, holds_rows, read_failed
from pipeline.score.part_metadata import AccountError, read_account
from pipeline.storage.location import CONCURRENT_FILES, Location
from pipeline.storage.objectstore import TEMPORARY_MARK

_PART = re.compile(r"(rejects/)?part-(\d{5,})-(\d{6,})\.parquet|rejects/failed-(\d{5,})(-\d{5,})?\.parquet")
_BATCH = 1024


@dataclass
class FileAccount:
    """Rows and rejected lines of one file of the input, summed over its parts."""

    source: str
    chunks: int = 0
    lines: int = 0
    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    physical_lines: int = 0
    """See FileCounts."""
    broken: str | None = None
    """Why the file could not be read to its end; None if it was."""


@dataclass
class Verdict:
    """Result of `verify`."""

    run: Run
    files: list[FileAccount]
    faults: dict[str, str]
    """File name in the directory → its fault; empty if the directory is valid."""

    @property
    def parts(self) -> int:
        """Number of intact scores parts."""
        return sum(file.chunks for file in self.files)


class _Input(Record):
    max_rows: int | None = None


class _Settings(Record):
    """Settings in run.json that verification needs."""

    input: _Input = _Input()


@dataclass(frozen=True)
class _Claim:
    """Account of a chunk from its scores part, reduced because there may be a million of them."""

    header: ChunkHeader
    rows: int
    rejected: dict[str, int]
    rejects: tuple[str, int, int] | None
    """Name, rows and bytes of the file with its rejected lines."""
    failed: pa.Table | None
    """Rows of FAILED_SCHEMA that the model failed on; None if there are none."""


def verify(directory: Location) -> Verdict:
    """Read all files of a scores directory, and check that they agree.

    Raises:
        InputError: the directory does not contain scores, or cannot be read.
    """
    run = read_run(directory)
    if run.stage != "score":
        raise InputError(
            f"{directory.uri}: holds the output of jobs.{run.stage}; verify needs an output of jobs.score"
        )
    has_max_rows = _Settings.model_validate(run.settings).input.max_rows is not None
    sizes = directory.sizes()
    faults = dict(_strays(sizes))
    names = [n for n in sorted(sizes) if _PART.fullmatch(n)]
    claims: list[list[_Claim]] = [[] for _ in run.inputs]
    found: dict[str, tuple[int, int]] = {}
    for name, part in _read_all(directory, names):
        try:
            if isinstance(part, ValueError):
                raise part
            if not name.startswith("rejects/"):
                claim = _claim(name, part, run)
                claims[claim.header.file].append(claim)
            found[name] = (part.rows, part.bytes)
        except ValueError as fault:
            faults[name] = str(fault)
    files = []
    for number, file in enumerate(run.inputs):
        of_file = sorted(claims[number], key=lambda claim: claim.header.chunk)
        files.append(_sum_up(file.path, of_file))
        # With `input.max_rows`, the last files may have no parts.
        if not has_max_rows or any(claims[number:]):
            _add(faults, _gaps(number, file.path, of_file, faults))
    _add(faults, _rejects_faults(found, claims))
    _add(faults, _failed_faults(directory, run, found, claims))
    _add(faults, _manifest_faults(directory, found, files))
    return Verdict(run, files, faults)


def _add(faults: dict[str, str], more: Iterable[tuple[str, str]]) -> None:
    """Add the faults of files without a known fault: a damaged file is not reported as missing, too."""
    for name, text in list(more):
        faults.setdefault(name, text)


def _strays(names: Collection[str]) -> Iterator[tuple[str, str]]:
    finished = MANIFEST_FILE in names
    for name in sorted(names):
        if name == LEASE_FILE and finished:
            yield (
                name,
                "a job is finishing, or was interrupted while finishing; if no job is running, delete it",
            )
        elif name == LEASE_FILE:
            yield name, "a job is running, or was interrupted; wait until it ends, or rerun its command"
        elif TEMPORARY_MARK in name:
            yield name, "a temporary file of an interrupted job; delete it"
        elif name not in (RUN_FILE, MANIFEST_FILE) and not _PART.fullmatch(name):
            yield name, "not a file of jobs.score; move it away"


def _read_all(directory: Location, names: list[str]) -> Iterator[tuple[str, Part | ValueError]]:
    """The named parts, or their faults; a batch of them is in memory at a time."""
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        for start in range(0, len(names), _BATCH):
            batch = names[start : start + _BATCH]
            yield from zip(batch, pool.map(lambda name: _read(directory, name), batch), strict=True)


def _read(directory: Location, name: str) -> Part | ValueError:
    try:
        return check_part(directory.child(name))
    except ValueError as error:
        return error


def _claim(name: str, part: Part, run: Run) -> _Claim:
    """Account of the chunk of a scores part.

    Raises:
        AccountError: the part does not belong under its name, or its counts disagree.
    """
    entry = read_account(name, part.metadata, run)
    lines, rejected = entry.header.lines, sum(entry.rejected.values())
    if entry.rows != part.rows or lines != part.rows + rejected:
        raise AccountError(f"{lines} lines in, {part.rows} rows and {rejected} rejected lines out")
    rejects = next(((o.path, o.rows or 0, o.bytes) for o in entry.outputs), None)
    failed = read_failed(part.metadata) if entry.failed else None
    if (failed.num_rows if failed else 0) != entry.failed:
        raise AccountError(f"lists {failed.num_rows if failed else 0} failed rows, but counts {entry.failed}")
    kept = (rejects[1] if rejects else 0) + entry.failed
    if kept != rejected:
        raise AccountError(f"{rejected} lines were rejected, but {kept} are listed or in rejects/")
    # One string per file instead of one per part.
    header = replace(entry.header, source=run.inputs[entry.header.file].path)
    return _Claim(header, entry.rows, entry.rejected, rejects, failed)


def _sum_up(source: str, claims: list[_Claim]) -> FileAccount:
    account = FileAccount(source)
    for claim in claims:
        account.chunks += 1
        account.lines += claim.header.lines
        account.rows += claim.rows
        account.physical_lines += claim.header.budget_lines
        account.rejected.update(claim.rejected)
        account.broken = account.broken or claim.header.broken
    return account


def _gaps(
    file: int, source: str, claims: list[_Claim], faults: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Missing and surplus chunks of a file, by chunk number, line number and the mark of the last chunk.

    Args:
        claims: sorted by chunk.
        faults: faults that are already known.
    """
    number, line, ended = 0, 1, False
    for claim in claims:
        name = part_name(file, claim.header.chunk)
        missing = [part_name(file, n) for n in range(number, claim.header.chunk)]
        yield from _missing([n for n in missing if n not in faults], source)
        if not missing and claim.header.first_line != line:
            yield name, f"begins at line {claim.header.first_line} of {source}; expected line {line}"
        if ended:
            yield name, f"is past the end of {source}"
        ended = ended or claim.header.last
        number, line = claim.header.chunk + 1, claim.header.next_line
    if not ended:
        yield part_name(file, number), f"missing, so the end of {source} is missing, too"


def _missing(names: list[str], source: str) -> Iterator[tuple[str, str]]:
    if names:
        last = f"; also all parts up to {names[-1]}" if len(names) > 1 else ""
        yield names[0], f"missing part of {source}{last}"


def _rejects_faults(
    found: Mapping[str, tuple[int, int]], claims: Iterable[Iterable[_Claim]]
) -> Iterator[tuple[str, str]]:
    """Files of rejected lines that disagree with the parts of their chunks."""
    listed = [claim.rejects for of_file in claims for claim in of_file if claim.rejects is not None]
    expected = {name: (rows, size) for name, rows, size in listed}
    present = {name for name in found if name.startswith("rejects/part-")}
    for name in sorted(expected.keys() | present):
        if name not in present:
            yield name, "missing"
        elif name not in expected:
            yield name, "belongs to no existing part"
        elif found[name] != expected[name]:
            yield name, "is not the file that was written with the part of its chunk"


def _failed_faults(
    directory: Location,
    run: Run,
    found: Mapping[str, tuple[int, int]],
    claims: Sequence[Iterable[_Claim]],
) -> Iterator[tuple[str, str]]:
    """Files of failed rows that disagree with the parts' lists of rows that the model failed on."""
    names = group_failed(found)
    for file, of_file in enumerate(claims):
        listed = [FAILED_SCHEMA.empty_table(), *(c.failed for c in of_file if c.failed is not None)]
        expected, present = pa.concat_tables(listed), names.pop(file, [])
        if not present and not expected.num_rows:
            continue
        if not present:
            # Written at the end: an unfinished job does not have it yet.
            if directory.child(MANIFEST_FILE).exists():
                yield failed_name(file), "missing"
        elif not holds_rows(directory, present, run.inputs[file].path, expected):
            yield present[0], f"does not contain the rows of {run.inputs[file].path} that the model failed on"
    for name in (n for unknown in names.values() for n in unknown):
        yield name, "belongs to no input file"


def _manifest_faults(
    directory: Location, found: Mapping[str, tuple[int, int]], files: Iterable[FileAccount]
) -> Iterator[tuple[str, str]]:
    if not directory.child(MANIFEST_FILE).exists():
        yield MANIFEST_FILE, "missing: the job is not finished; rerun its command"
        return
    try:
        manifest = read_manifest(directory, ScoreDetails)
    except InputError as error:
        yield MANIFEST_FILE, str(error)
        return
    listed = {o.path: (o.rows or 0, o.bytes) for o in manifest.outputs}
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            yield name, f"missing, but listed in {MANIFEST_FILE}"
        elif name not in listed:
            yield name, f"not listed in {MANIFEST_FILE}"
        elif listed[name] != found[name]:
            yield name, f"differs from its entry in {MANIFEST_FILE}"
    counts = manifest.counts.files if manifest.counts is not None else {}
    for file in files:
        recorded = counts.get(file.source, FileCounts(lines=0, rows=0))
        if (recorded.lines, recorded.rows, Counter(recorded.rejected)) != (
            file.lines,
            file.rows,
            file.rejected,
        ):
            yield (
                MANIFEST_FILE,
                f"records {recorded.lines} lines and {recorded.rows} rows of {file.source}; its parts contain"
                f" {file.lines} lines and {file.rows} rows",
            )
        elif recorded.physical_lines not in (None, file.physical_lines):
            yield (
                MANIFEST_FILE,
                f"records {recorded.physical_lines} physical lines of {file.source}; its parts contain"
                f" {file.physical_lines}",
            )
