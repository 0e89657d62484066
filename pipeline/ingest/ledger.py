"""Ledger of a stage, kept by the driver: it accounts for every line of every input file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.errors import AccountingError, ErrorBudgetError, NoRowsError
from pipeline.humanize import counted
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.entry import Entry
from pipeline.ingest.hints import hint
from pipeline.ingest.parse.rejects import Reason, count_errors
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Counts, FileCounts, OutputFile
from pipeline.runtime.ray_data import iter_tables

if TYPE_CHECKING:
    from ray.data import Dataset

_BUDGET_FROM_LINES = 1000
"""Lines needed to estimate the number of lines of the whole input."""

_BUDGET_MARGIN = 2
"""A job stops early only if it would be over budget even if the input had this many times the expected
lines."""

_AHEAD_BYTES = 1 << 19
"""Stored bytes that may be read beyond the end of a chunk: decoders read 256 KiB at a time."""

_TOP_REASONS = 3

_FILTER_SETTINGS = {
    Reason.FILTERED_UNVERIFIED.value: "input.verified_only",
    Reason.NEUTRAL_DROPPED.value: "labels.scheme",
    Reason.MISSING_TIMESTAMP.value: "split.by or input.timestamp",
    Reason.CONFLICTING_STARS.value: "dedup.conflict",
}
"""Setting that excludes lines for a reason."""


@dataclass
class _Joined:
    """The contiguous prefix of the chunks of a file."""

    chunks: int = 0
    lines: int = 0
    bytes_read: int = 0
    ended: bool = False
    """Whether it contains all chunks."""


@dataclass
class Ledger:
    """Entries of all chunks so far, checked at the end.

    The error budget applies to the whole input, so the result does not depend on the division into chunks.
    """

    sources: list[Source]
    max_rejected_frac: float
    strict: bool = False
    """Whether a line rejected for an error, or a file that ends early, is an error of the job."""
    entries: dict[tuple[int, int], Entry] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    lines: int = 0
    rows: int = 0
    budget_lines: int = 0
    """Physical lines of CSV files, and lines of all others; see input.max_rejected_frac."""
    error_lines: int = 0
    """Those of records that are rejected for an error."""
    _read: dict[int, int] = field(default_factory=dict)
    _joined: dict[int, _Joined] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Add a chunk. A chunk that a retry reports again is counted once.

        Raises:
            ErrorBudgetError: more lines are rejected than allowed for the whole input. If strict: a line is
                rejected for an error, or a file ends early.
        """
        header = entry.header
        if (header.file, header.chunk) in self.entries:
            return
        self.entries[header.file, header.chunk] = entry
        self.lines += header.lines
        self.rows += entry.rows
        self.budget_lines += header.budget_lines
        self.error_lines += entry.error_lines
        self.rejected.update(entry.rejected)
        self._read[header.file] = max(self._read.get(header.file, 0), header.bytes_read)
        for reason, example in entry.examples.items():
            self.examples.setdefault(reason, example)
        if self.strict:
            self._check_strict(entry)
        self._join(header.file)
        if self.budget_lines >= _BUDGET_FROM_LINES:
            self.check_budget(max(self.budget_lines, _BUDGET_MARGIN * self._expected_lines()))

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Add several chunks; see `add`."""
        for entry in entries:
            self.add(entry)

    def expect(self, read: Mapping[int, int]) -> None:
        """Set the number of bytes of each file that earlier jobs have read; their chunks are added later."""
        self._read.update(read)

    def fill(self, dataset: Dataset, reporter: Reporter, what: str) -> None:
        """Run a dataset of accounts (column `entry`), and add each one as soon as its output is written."""
        with reporter.meter(what) as meter:
            for table in iter_tables(dataset):
                for text in table["entry"].to_pylist():
                    self.add(Entry.from_json(text))
                meter.update(self.lines, self.done_frac)
                reporter.refresh()

    def check_budget(self, lines: float) -> None:
        """Raise ErrorBudgetError if there are more errors than `input.max_rejected_frac` of `lines`."""
        if self.error_lines > self.max_rejected_frac * lines:
            reasons = [(reason, n) for reason, n in self.rejected.most_common() if count_errors({reason: n})]
            top = "; ".join(
                f"{n:,} {reason} ({self.examples.get(reason, 'no example')})"
                for reason, n in reasons[:_TOP_REASONS]
            )
            raise ErrorBudgetError(
                f"{self.error_lines:,} of {counted(self.budget_lines, 'line')} rejected, more than"
                f" input.max_rejected_frac={self.max_rejected_frac:g} allows: {top}{self._hint(*reasons[0])}"
            )

    def _hint(self, reason: str, count: int) -> str:
        """What to try if most errors have the same reason, after a separator; empty if there is nothing."""
        errors = count_errors(dict(self.rejected))
        text = hint(reason, self.examples.get(reason, "")) if 2 * count > errors else None
        return f"; {text}" if text else ""

    def _join(self, file: int) -> None:
        """Extend the contiguous prefix of a file."""
        joined = self._joined.setdefault(file, _Joined())
        while entry := self.entries.get((file, joined.chunks)):
            joined.chunks += 1
            joined.lines += entry.header.budget_lines
            joined.bytes_read, joined.ended = entry.header.bytes_read, entry.header.last

    def _expected_lines(self) -> float:
        """Lines of the whole input, extrapolated from the lines per byte so far.

        The share of errors is not extrapolated: they may all be in one place, whereas the length of lines
        varies little within a dump.
        """
        read = lines = 0
        for source in self.sources:
            if joined := self._joined.get(source.number):
                read += source.size_bytes if joined.ended else max(0, joined.bytes_read - _AHEAD_BYTES)
                lines += joined.lines
        total = sum(s.size_bytes for s in self.sources)
        return lines * total / read if read else math.inf

    def _check_strict(self, entry: Entry) -> None:
        for reason, example in entry.examples.items():
            raise ErrorBudgetError(f"{reason}: {example}; input.strict allows no rejected line")
        if entry.header.broken:
            raise ErrorBudgetError(
                f"{entry.header.source}: {entry.header.broken}; input.strict allows no broken file"
            )

    @property
    def done_frac(self) -> float:
        """Share of the input's stored bytes that has been read."""
        total = sum(s.size_bytes for s in self.sources)
        return sum(self._read.values()) / total if total else 1.0

    @property
    def broken(self) -> list[str]:
        """One sentence per file whose stream could not be read to its end."""
        headers = [entry.header for entry in self.ordered()]
        return [f"{header.source}: {header.broken}" for header in headers if header.broken]

    def ordered(self) -> list[Entry]:
        """All entries, by file and chunk."""
        return [self.entries[key] for key in sorted(self.entries)]

    def outputs(self) -> list[OutputFile]:
        """All files written, by file and chunk of the input."""
        return [output for entry in self.ordered() for output in entry.outputs]

    def total(self, name: str) -> float:
        """The sum of a count over all chunks."""
        return sum(entry.counts.get(name, 0) for entry in self.entries.values())

    def total_time(self, name: str) -> float:
        """The sum of a timing over the chunks of this job, without those of earlier ones."""
        return sum(entry.timings.get(name, 0.0) for entry in self.entries.values())

    def close(self, *, all_files: bool = True) -> Counts:
        """Check that every line is accounted for, and return the totals.

        Args:
            all_files: whether every file must have been read; with `input.max_rows` the last ones may be
                missing.
        Raises:
            AccountingError: a chunk is missing, line ranges have a gap, or lines in and out differ.
            ErrorBudgetError: more lines are rejected than allowed.
            NoRowsError: every line was rejected or filtered out.
        """
        chunks: dict[int, list[Entry]] = {}
        for entry in self.ordered():
            chunks.setdefault(entry.header.file, []).append(entry)
        for source in self.sources:
            if all_files or source.number <= max(chunks, default=0):
                _check_file(source.uri, chunks.get(source.number, []))
        files = {s.uri: _sum_up(chunks[s.number]) for s in self.sources if s.number in chunks}
        counts = Counts(
            lines=self.lines,
            rows=self.rows,
            rejected=dict(self.rejected.most_common()),
            files=files,
            physical_lines=self.budget_lines,
            error_lines=self.error_lines,
        )
        counts.check("all input files")
        self.check_budget(self.budget_lines)
        check_any_rows(counts)
        return counts


def check_any_rows(counts: Counts) -> None:
    """Raise NoRowsError if every line was rejected or filtered out."""
    if counts.lines and not counts.rows:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in counts.rejected.items())
        settings = {s for reason in counts.rejected if (s := _FILTER_SETTINGS.get(reason)) is not None}
        advice = f"; change {' or '.join(sorted(settings))}" if settings else ""
        raise NoRowsError(f"none of the {counted(counts.lines, 'line')} can be used: {reasons}{advice}")


def check_finished(counts: Counts, broken: Iterable[str], max_rejected_frac: float, *, strict: bool) -> None:
    """Check a finished output against another budget than that of its job.

    Args:
        counts: counts of its manifest.
        broken: one sentence per file that could not be read to its end.
    Raises:
        ErrorBudgetError: more lines are rejected than allowed. If strict: a line is rejected for an error, or
            a file ends early.
    """
    errors = count_errors(counts.rejected)
    ledger = Ledger([], max_rejected_frac, rejected=Counter(counts.rejected), lines=counts.lines)
    # Manifests of earlier versions have no physical lines.
    ledger.budget_lines = counts.lines if counts.physical_lines is None else counts.physical_lines
    ledger.error_lines = errors if counts.error_lines is None else counts.error_lines
    ledger.check_budget(ledger.budget_lines)
    if strict:
        if errors:
            lines = counted(errors, "line")
            raise ErrorBudgetError(f"{lines} rejected; input.strict allows no rejected line")
        for sentence in broken:
            raise ErrorBudgetError(f"{sentence}; input.strict allows no broken file")


def _sum_up(entries: Iterable[Entry]) -> FileCounts:
    lines, rows, physical, rejected = 0, 0, 0, Counter[str]()
    for entry in entries:
        lines, rows = lines + entry.header.lines, rows + entry.rows
        physical += entry.header.budget_lines
        rejected.update(entry.rejected)
    return FileCounts(lines=lines, rows=rows, rejected=dict(rejected.most_common()), physical_lines=physical)


def _check_file(uri: str, entries: Iterable[Entry]) -> None:
    """Raise AccountingError unless a file's chunks are contiguous from the first to the one marked last."""
    line, number, ended = 1, 0, False
    for entry in entries:
        header = entry.header
        if header.chunk != number or header.first_line != line:
            raise AccountingError(
                f"{uri}: chunk {number} from line {line} is missing; found chunk {header.chunk} from"
                f" line {header.first_line}"
            )
        if header.lines != entry.rows + sum(entry.rejected.values()):
            raise AccountingError(f"{uri}: chunk {number}: {header.lines} lines in, another number out")
        line, number, ended = header.next_line, number + 1, header.last
    if not ended:
        raise AccountingError(f"{uri}: its end is missing, from chunk {number} on")
