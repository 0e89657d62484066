"""Account of one chunk: its rows, rejects and output files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import pyarrow as pa

from pipeline.humanize import printable
from pipeline.ingest.parse.rejects import EXTRA_ERROR_LINES, count_errors
from pipeline.ingest.read.chunks import ChunkHeader
from pipeline.ingest.stream import Batch
from pipeline.rundir.manifest import OutputFile

_EXAMPLE_BYTES = 80


@dataclass(frozen=True)
class Entry:
    """Account of one chunk, known once its output is written."""

    header: ChunkHeader
    rows: int
    rejected: dict[str, int]
    """Number of rejected lines by reason."""
    examples: dict[str, str]
    """Error reason → its first line: source, number, detail and beginning."""
    outputs: list[OutputFile]
    counts: dict[str, float]
    failed: int = 0
    """Rejected rows whose lines are restored at the end of the job; the part of the chunk lists them."""
    timings: dict[str, float] = field(default_factory=dict)
    """See stream.Batch; empty for chunks of earlier jobs."""

    @classmethod
    def of(cls, batch: Batch, outputs: list[OutputFile], *, failed: int = 0) -> Entry:
        """The entry of a batch and its output files, without timings."""
        rejected, examples = _count(batch.rejects)
        rows = batch.rows.num_rows
        return cls(batch.header, rows, rejected, examples, outputs, batch.counts, failed)

    @property
    def error_lines(self) -> int:
        """Physical lines of the records that are rejected for an error."""
        return count_errors(self.rejected) + int(self.counts.get(EXTRA_ERROR_LINES, 0))

    def to_json(self) -> str:
        """JSON for a column of a dataset."""
        return json.dumps(self.as_dict())

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """The entry that `to_json` wrote."""
        return cls.of_dict(json.loads(text))

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
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
        """The entry that `as_dict` returned.

        Raises:
            KeyError, TypeError: the data are not those of an entry.
        """
        return cls(
            # Parts of earlier versions lack the optional names.
            ChunkHeader(**{f.name: data[f.name] for f in fields(ChunkHeader) if f.name in data}),
            data["rows"],
            data["rejected"],
            data["examples"],
            [OutputFile(**o) for o in data["outputs"]],
            data["counts"],
            # Parts of earlier versions lack this key.
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
    # Without NUL bytes, UTF-16 is readable.
    raw = (row["raw"] or b"")[:_EXAMPLE_BYTES].replace(b"\0", b"").decode(errors="replace")
    detail = row["detail"].partition("\n")[0][:_EXAMPLE_BYTES]
    return f"{row['source']}, line {row['line']}: {detail or row['reason']}: {printable(raw)}".rstrip(": ")
