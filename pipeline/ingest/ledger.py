"""Ledger of a stage, kept by the driver: it accounts for every line of every input file."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import AccountingError, ErrorBudgetError
from pipeline.humanize import counted, printable
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.rejects import count_errors
from pipeline.ingest.read.chunks import ChunkHeader
from pipeline.ingest.stream import Batch
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Counts, FileCounts, OutputFile
from pipeline.runtime.ray_data import iter_tables

if TYPE_CHECKING:
    from ray.data import Dataset

_BUDGET_FROM_LINES = 1000
"""Lines from which the number of lines of the whole input is estimated."""

_BUDGET_MARGIN = 2
"""A job stops early only if it would be over budget even if the input had this many times the lines."""

_AHEAD_BYTES = 1 << 19
"""Up to so much more of a stored file is read than a chunk holds: decoders take 256 KiB at a time."""

_EXAMPLE_BYTES = 80
_TOP_REASONS = 3


@dataclass(frozen=True)
class Entry:
    """Account of one chunk, known once its output is written."""

    header: ChunkHeader
    rows: int
    rejected: dict[str, int]
    """Lines by reason."""
    examples: dict[str, str]
    """For each error that lines were rejected for, the first of them: source, line, detail, beginning."""
    outputs: list[OutputFile]
    counts: dict[str, float]
    failed: int = 0
    """Rejected rows whose lines are restored at the end of the job; the part of the chunk lists them."""
    timings: dict[str, float] = field(default_factory=dict)
    """See stream.Batch; empty for chunks of earlier jobs."""

    @classmethod
    def of(cls, batch: Batch, outputs: list[OutputFile], *, failed: int = 0) -> Entry:
        """The entry of a batch whose output files are these, without its timings."""
        rejected, examples = _count(batch.rejects)
        rows = batch.rows.num_rows
        return cls(batch.header, rows, rejected, examples, outputs, batch.counts, failed)

    def to_json(self) -> str:
        """As JSON, for a column of a dataset."""
        return json.dumps(self.as_dict())

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """The entry that `to_json` wrote."""
        return cls.of_dict(json.loads(text))

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **asdict(self.header),
            "rows": self.rows,
            "rejected": self.rejected,
            "examples": self.examples,
            "outputs": [o.model_dump() for o in self.outputs],
            "counts": self.counts,
            "failed": self.failed,
            "took": self.timings,
        }

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Entry:
        """The entry that `as_dict` gave.

        Raises:
            KeyError, TypeError: the data are something else.
        """
        return cls(
            ChunkHeader(**{f.name: data[f.name] for f in fields(ChunkHeader)}),
            data["rows"],
            data["rejected"],
            data["examples"],
            [OutputFile(**o) for o in data["outputs"]],
            data["counts"],
            # Parts of earlier versions lack it.
            data.get("failed", 0),
            data["took"],
        )


def _count(rejects: pa.Table | None) -> tuple[dict[str, int], dict[str, str]]:
    if rejects is None:
        return {}, {}
    reasons = rejects["reason"].to_pylist()
    rejected = Counter(reasons)
    errors = [reason for reason in rejected if count_errors({reason: 1})]
    examples = {reason: _example(rejects.slice(reasons.index(reason), 1)) for reason in errors}
    return dict(rejected.most_common()), examples


def _example(reject: pa.Table) -> str:
    row = reject.to_pylist()[0]
    raw = (row["raw"] or b"")[:_EXAMPLE_BYTES].decode(errors="replace")
    detail = row["detail"].partition("\n")[0][:_EXAMPLE_BYTES]
    return f"{row['source']}, line {row['line']}: {detail or row['reason']}: {printable(raw)}".rstrip(": ")


@dataclass
class _Joined:
    """The chunks of a file without a gap from the first one on."""

    chunks: int = 0
    lines: int = 0
    bytes_read: int = 0
    ended: bool = False
    """Whether they are all."""


@dataclass
class Ledger:
    """Entries of all chunks so far, checked at the end.

    The error budget is judged by the whole input, so the verdict does not depend on how that is cut up.
    """

    sources: list[Source]
    max_rejected_frac: float
    strict: bool = False
    """Whether no line may be rejected for an error, and no file break off."""
    entries: dict[tuple[int, int], Entry] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    lines: int = 0
    rows: int = 0
    _read: dict[int, int] = field(default_factory=dict)
    _joined: dict[int, _Joined] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Take in a chunk; a chunk that a retry reports again is counted once.

        Raises:
            ErrorBudgetError: more lines were rejected than the whole input may have; or any, or a file
                broke off, if strict.
        """
        header = entry.header
        if (header.file, header.chunk) in self.entries:
            return
        self.entries[header.file, header.chunk] = entry
        self.lines += header.lines
        self.rows += entry.rows
        self.rejected.update(entry.rejected)
        self._read[header.file] = max(self._read.get(header.file, 0), header.bytes_read)
        for reason, example in entry.examples.items():
            self.examples.setdefault(reason, example)
        if self.strict:
            self._check_strict(entry)
        self._join(header.file)
        if self.lines >= _BUDGET_FROM_LINES:
            self.check_budget(max(self.lines, _BUDGET_MARGIN * self._expected_lines()))

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Take in some chunks; see `add`."""
        for entry in entries:
            self.add(entry)

    def expect(self, read: Mapping[int, int]) -> None:
        """Take note of how many bytes of each file earlier jobs have read; their chunks are added later."""
        self._read.update(read)

    def fill(self, dataset: Dataset, reporter: Reporter, what: str) -> None:
        """Run a dataset of accounts (column `entry`), and take in each as soon as its output is written."""
        with reporter.meter(what) as meter:
            for table in iter_tables(dataset):
                for text in table["entry"].to_pylist():
                    self.add(Entry.from_json(text))
                meter.update(self.lines, self.done_frac)
                reporter.refresh()

    def check_budget(self, lines: float) -> None:
        """Raise ErrorBudgetError if there are more errors than `input.max_rejected_frac` of `lines`."""
        errors = count_errors(dict(self.rejected))
        if errors > self.max_rejected_frac * lines:
            reasons = [(reason, n) for reason, n in self.rejected.most_common() if count_errors({reason: n})]
            top = "; ".join(
                f"{n:,} {reason} ({self.examples.get(reason, 'no example')})"
                for reason, n in reasons[:_TOP_REASONS]
            )
            raise ErrorBudgetError(
                f"{errors:,} of {counted(self.lines, 'line')} rejected, more than input.max_rejected_frac="
                f"{self.max_rejected_frac:g} allows: {top}"
            )

    def _join(self, file: int) -> None:
        """Follow the chunks of a file from its first one on, up to the first that is not there."""
        joined = self._joined.setdefault(file, _Joined())
        while entry := self.entries.get((file, joined.chunks)):
            joined.chunks += 1
            joined.lines += entry.header.lines
            joined.bytes_read, joined.ended = entry.header.bytes_read, entry.header.last

    def _expected_lines(self) -> float:
        """Lines of the whole input, if the rest is like what has been read.

        Broken lines may all be in one place, so their share of the chunks that happen to be done first
        says little; how long lines are is much the same everywhere.
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
        """Share of the input's stored bytes that is read."""
        total = sum(s.size_bytes for s in self.sources)
        return sum(self._read.values()) / total if total else 1.0

    @property
    def broken(self) -> list[str]:
        """One sentence for each file whose stream could not be read to its end."""
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
        """The sum of a timing over the chunks that this job did."""
        return sum(entry.timings.get(name, 0.0) for entry in self.entries.values())

    def close(self, *, all_files: bool = True) -> Counts:
        """Check that everything is accounted for, and sum it up.

        Args:
            all_files: whether every file must have been read; under `input.max_rows` those after the last
                one that was need not be.
        Raises:
            AccountingError: a chunk is missing, line ranges have a gap, or lines in and out differ.
            ErrorBudgetError: more lines were rejected than allowed.
        """
        chunks: dict[int, list[Entry]] = {}
        for entry in self.ordered():
            chunks.setdefault(entry.header.file, []).append(entry)
        for source in self.sources:
            if all_files or source.number <= max(chunks, default=0):
                _check_file(source.uri, chunks.get(source.number, []))
        files = {s.uri: _sum_up(chunks[s.number]) for s in self.sources if s.number in chunks}
        counts = Counts(
            lines=self.lines, rows=self.rows, rejected=dict(self.rejected.most_common()), files=files
        )
        counts.check("all input files")
        self.check_budget(self.lines)
        return counts


def check_finished(counts: Counts, broken: Iterable[str], max_rejected_frac: float, *, strict: bool) -> None:
    """Check a finished output against a budget other than the one it was made with.

    Args:
        counts: of its manifest.
        broken: one sentence for each file that could not be read to its end.
    Raises:
        ErrorBudgetError: more lines were rejected than allowed; or any, or a file broke off, if strict.
    """
    ledger = Ledger([], max_rejected_frac, rejected=Counter(counts.rejected), lines=counts.lines)
    ledger.check_budget(counts.lines)
    if strict:
        if errors := count_errors(counts.rejected):
            lines = counted(errors, "line")
            raise ErrorBudgetError(f"{lines} rejected; input.strict allows no rejected line")
        for sentence in broken:
            raise ErrorBudgetError(f"{sentence}; input.strict allows no broken file")


def _sum_up(entries: Iterable[Entry]) -> FileCounts:
    lines, rows, rejected = 0, 0, Counter[str]()
    for entry in entries:
        lines, rows = lines + entry.header.lines, rows + entry.rows
        rejected.update(entry.rejected)
    return FileCounts(lines=lines, rows=rows, rejected=dict(rejected.most_common()))


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
            raise AccountingError(f"{uri}: chunk {number}: {header.lines} lines in, fewer or more out")
        line, number, ended = header.next_line, number + 1, header.last
    if not ended:
        raise AccountingError(f"{uri}: its end is missing; the last chunk that was written is {number - 1}")
