"""The driver's account of a stage: what became of every line of every file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.errors import AccountingError, ErrorBudgetError
from pipeline.ingest.dataset import Batch, Source
from pipeline.ingest.rejects import count_errors
from pipeline.manifest import Counts, OutputFile
from pipeline.progress import Reporter

_BUDGET_FROM_LINES = 1000
"""The error budget is a share; before so many lines it would be a lottery."""


@dataclass(frozen=True)
class Entry:
    """What became of one chunk, known once its output is written."""

    file: int
    chunk: int
    first_line: int
    lines: int
    last: bool
    broken: str | None
    bytes_read: int
    rows: int
    rejected: dict[str, int]
    example: str | None
    """The first line rejected as an error, for a message: line, reason, detail."""
    outputs: list[OutputFile]
    counts: dict[str, Any]

    @classmethod
    def of(cls, batch: Batch, outputs: list[OutputFile]) -> Entry:
        """The entry of a batch whose output files are these."""
        rejected, example = _count(batch.rejects)
        meta = {
            n: getattr(batch, n)
            for n in ("file", "chunk", "first_line", "lines", "last", "broken", "bytes_read")
        }
        return cls(
            **meta,
            rows=batch.rows.num_rows,
            rejected=rejected,
            example=example,
            outputs=outputs,
            counts=batch.counts,
        )

    def to_json(self) -> str:
        """As JSON, for a column of a dataset or the metadata of a part."""
        return json.dumps(self.__dict__ | {"outputs": [o.model_dump() for o in self.outputs]})

    @classmethod
    def from_json(cls, text: str | bytes) -> Entry:
        """The entry that `to_json` wrote."""
        data = json.loads(text)
        return cls(**data | {"outputs": [OutputFile(**o) for o in data["outputs"]]})


def _count(rejects: pa.Table | None) -> tuple[dict[str, int], str | None]:
    if rejects is None:
        return {}, None
    reasons = rejects["reason"].to_pylist()
    first = next((i for i, reason in enumerate(reasons) if count_errors({reason: 1})), None)
    example = None
    if first is not None:
        row = rejects.slice(first, 1).to_pylist()[0]
        example = f"{row['source']}, line {row['line']}: {row['reason']} ({row['detail']})"
    return dict(Counter(reasons).most_common()), example


@dataclass
class Ledger:
    """Entries of all chunks so far, checked at the end."""

    sources: list[Source]
    max_rejected_frac: float
    entries: dict[tuple[int, int], Entry] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    lines: int = 0
    rows: int = 0
    _read: dict[int, int] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Take in a chunk; a chunk that a retry reports again is counted once.

        Raises:
            ErrorBudgetError: more lines were rejected than allowed.
        """
        if (entry.file, entry.chunk) in self.entries:
            return
        self.entries[entry.file, entry.chunk] = entry
        self.lines += entry.lines
        self.rows += entry.rows
        self.rejected.update(entry.rejected)
        self._read[entry.file] = max(self._read.get(entry.file, 0), entry.bytes_read)
        if entry.example is not None:
            self.examples.setdefault(entry.example.partition(": ")[2].partition(" ")[0], entry.example)
        if self.lines >= _BUDGET_FROM_LINES:
            self.check_budget()

    def fill(self, dataset: Any, reporter: Reporter, what: str) -> None:
        """Run a dataset of accounts (column `entry`), and take in each as soon as its output is written."""
        batches = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        with reporter.meter(what) as meter:
            for batch in batches:
                for text in batch["entry"].to_pylist():
                    self.add(Entry.from_json(text))
                meter.update(self.lines, self.done_frac)
                reporter.refresh()

    def check_budget(self) -> None:
        """Raise ErrorBudgetError if more lines were rejected than `input.max_rejected_frac` allows."""
        errors = count_errors(dict(self.rejected))
        if errors > self.max_rejected_frac * self.lines:
            top = ", ".join(f"{n} {r}" for r, n in self.rejected.most_common(3))
            example = next(iter(self.examples.values()), "")
            raise ErrorBudgetError(
                f"{errors} of {self.lines} lines rejected, more than input.max_rejected_frac="
                f"{self.max_rejected_frac:g} allows: {top}; first: {example}"
            )

    @property
    def done_frac(self) -> float:
        """Share of the input's stored bytes that is read."""
        total = sum(s.size_bytes for s in self.sources)
        return sum(self._read.values()) / total if total else 1.0

    @property
    def broken(self) -> list[str]:
        """One sentence for each file whose stream could not be read to its end."""
        uris = {s.number: s.uri for s in self.sources}
        return [f"{uris[e.file]}: {e.broken}" for e in self.ordered() if e.broken]

    def ordered(self) -> list[Entry]:
        """All entries, by file and chunk."""
        return [self.entries[key] for key in sorted(self.entries)]

    def outputs(self) -> list[OutputFile]:
        """All files written, by file and chunk of the input."""
        return [output for entry in self.ordered() for output in entry.outputs]

    def total(self, name: str) -> Any:
        """The sum of a count over all chunks."""
        return sum(entry.counts.get(name, 0) for entry in self.entries.values())

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
            chunks.setdefault(entry.file, []).append(entry)
        for source in self.sources:
            if all_files or source.number <= max(chunks, default=0):
                _check_file(source.uri, chunks.get(source.number, []))
        counts = Counts(lines=self.lines, rows=self.rows, rejected=dict(self.rejected.most_common()))
        counts.check("all input files")
        self.check_budget()
        return counts


def _check_file(uri: str, chunks: Iterable[Entry]) -> None:
    """The chunks of a file are there from the first to the one marked last, and their lines join up."""
    line, number, ended = 1, 0, False
    for entry in chunks:
        if entry.chunk != number or entry.first_line != line:
            raise AccountingError(
                f"{uri}: chunk {number} from line {line} is missing; found chunk {entry.chunk} from"
                f" line {entry.first_line}"
            )
        if entry.lines != entry.rows + sum(entry.rejected.values()):
            raise AccountingError(f"{uri}: chunk {number}: {entry.lines} lines in, fewer or more out")
        line, number, ended = line + entry.lines, number + 1, entry.last
    if not ended:
        raise AccountingError(f"{uri}: its end is missing; the last chunk that was written is {number - 1}")
