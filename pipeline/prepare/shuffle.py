"""Shuffle from parts in the order of the dump to buckets in order of text hash, with Ray Data's sort.

The bounds of the buckets are fixed, not sampled, so two runs have the same buckets. Ray spills blocks that
do not fit into its object store to disk; no process holds more than one part group or bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import DedupConfig
from pipeline.errors import AccountingError
from pipeline.ingest.clean.labels import nearest_stars
from pipeline.prepare.buckets import BUCKET_SCHEMA, ENCODED_SCHEMA, Bucket, bucket_edges, close_bucket
from pipeline.prepare.restore_rejects import REMOVED
from pipeline.prepare.split import SPLITS
from pipeline.progress import Reporter
from pipeline.rundir.manifest import OutputFile
from pipeline.rundir.parts import write_part
from pipeline.rundir.record import Record
from pipeline.runtime.malloc import keep_freed_memory, release_freed_memory
from pipeline.runtime.pools import Pool
from pipeline.runtime.ray_data import iter_tables, map_batches, table_dataset
from pipeline.storage.location import locate

BUCKET_ROWS = 1 << 16
"""Approximate rows of a bucket. A training worker reads one part, a split of a bucket, at a time."""

_MAX_BUCKETS = 4096
_READ_ROWS = 1 << 17
"""Rows that one task reads and sorts."""


@dataclass(frozen=True)
class Shuffle:
    """Parameters of the tasks; plain data."""

    output: str
    dedup: DedupConfig
    buckets: int
    group_rows: int
    """Rows of a row group, which is a chunk of a scoring job."""

    @classmethod
    def of(cls, output: str, dedup: DedupConfig, rows: int) -> Shuffle:
        """Shuffle with buckets for a number of rows; at least two, so that Ray never samples the bounds."""
        buckets = min(_MAX_BUCKETS, max(2, -(-rows // BUCKET_ROWS)))
        return cls(output, dedup, buckets, group_rows=min(1 << 14, max(1 << 10, rows // 64)))


class BucketSummary(Record):
    """Counts of a bucket for the data card; they are summed over buckets."""

    classes: dict[str, dict[str, int]]
    """Rows by split and label."""
    stars: dict[str, dict[str, int]]
    """Rows by split and nearest whole stars."""
    lengths: dict[str, int]
    """Rows by tokens before truncation."""
    num_tokens: int
    truncated: int
    cut_tokens: int
    texts_apart: int
    """Number of texts in more than one split."""
    first_ms: int | None
    """Earliest timestamp in milliseconds since 1970, UTC."""
    last_ms: int | None


class Filled(Record):
    """Account of one bucket, known once its parts are written."""

    number: int
    rows: int
    outputs: list[OutputFile]
    removed: OutputFile | None
    """Temporary file of the removed rows."""
    kept: dict[int, int]
    """Number of kept rows by file of the input."""
    rejected: dict[int, dict[str, int]]
    """Number of removed rows by file of the input and reason."""
    groups: dict[int, int]
    """Number of texts by number of occurrences."""
    conflicts: int
    summary: BucketSummary


def shuffle(
    parts: list[OutputFile], directory: str, plan: Shuffle, pool: Pool, reporter: Reporter
) -> list[Filled]:
    """Shuffle the rows of parts to buckets, and write the splits of each bucket.

    Args:
        parts: Parquet files of BUCKET_SCHEMA in `directory`.
    Returns:
        Accounts of the buckets that have rows, in order.
    Raises:
        AccountingError: the number of rows out, kept or rejected, differs from the number in.
    """
    groups = [[locate(directory).child(p.path).uri for p in group] for group in _grouped(parts)]
    work = _Work(plan)
    dataset = table_dataset(read_parts, groups, pool)
    dataset = dataset.sort("text_hash", boundaries=bucket_edges(plan.buckets))
    # One block at a time: a block is a bucket.
    dataset = map_batches(dataset, work.close, pool, batch_size=None)
    rows = sum(p.rows or 0 for p in parts)
    filled: dict[int, Filled] = {}
    done = 0
    with reporter.meter("shuffle") as meter:
        for table in iter_tables(dataset):
            for bucket in map(Filled.model_validate_json, table["bucket"].to_pylist()):
                if bucket.number in filled:
                    raise AccountingError(f"{plan.output}: bucket {bucket.number} was cut in two")
                filled[bucket.number] = bucket
                done += bucket.rows + sum(sum(r.values()) for r in bucket.rejected.values())
            meter.update(done, done / rows if rows else 1.0)
            reporter.refresh()
    if done != rows:
        raise AccountingError(f"{plan.output}: {rows} rows went into the shuffle, {done} came out")
    return [filled[number] for number in sorted(filled)]


def _grouped(parts: list[OutputFile]) -> Iterator[list[OutputFile]]:
    group: list[OutputFile] = []
    for part in parts:
        group.append(part)
        if sum(p.rows or 0 for p in group) >= _READ_ROWS:
            yield group
            group = []
    if group:
        yield group


def read_parts(uris: list[str]) -> pa.Table:
    """Several parts as one table with BUCKET_SCHEMA."""
    release_freed_memory()
    tables = []
    for uri in uris:
        with locate(uri).open_input() as file:
            tables.append(pq.read_table(file, schema=BUCKET_SCHEMA))
    return pa.concat_tables(tables).unify_dictionaries()


class _Work:
    """Writer of buckets; small, sent to every worker once."""

    def __init__(self, plan: Shuffle) -> None:
        self._plan = plan
        self._edges = np.array(bucket_edges(plan.buckets), np.int64)

    def close(self, rows: pa.Table) -> pa.Table:
        """Deduplicate a bucket, write its splits and the removed rows, and return its account."""
        keep_freed_memory()
        if not rows.num_rows:
            return pa.table({"bucket": pa.array([], pa.string())})
        output = locate(self._plan.output)
        number = int(np.searchsorted(self._edges, rows["text_hash"][0].as_py(), side="right"))
        bucket = close_bucket(rows, self._plan.dedup)
        name = f"part-{number:05d}.parquet"
        removed = None
        if bucket.removed.num_rows:
            removed = write_part(output, f"{REMOVED}/{name}", bucket.removed, temporary=True)
        outputs = []
        for index, split in enumerate(SPLITS):
            part = bucket.rows.filter(pc.equal(bucket.rows["split"], index)).select(ENCODED_SCHEMA.names)
            if part.num_rows:
                outputs.append(
                    write_part(output, f"{split}/{name}", part, row_group_rows=self._plan.group_rows)
                )
        filled = Filled(
            number=number,
            rows=bucket.rows.num_rows,
            outputs=outputs,
            removed=removed,
            kept={int(file): n for file, n in _counts(bucket.rows["file"].to_numpy()).items()},
            rejected=bucket.rejected,
            groups=dict(bucket.groups),
            conflicts=bucket.conflicts,
            summary=_summarize(bucket),
        )
        return pa.table({"bucket": [filled.model_dump_json()]})


def _summarize(bucket: Bucket) -> BucketSummary:
    rows = bucket.rows
    splits, labels = rows["split"].to_numpy(), rows["label"].to_numpy()
    stars = nearest_stars(rows["stars"].to_numpy())
    cut = rows["cut_tokens"].to_numpy()
    times = pc.min_max(rows["timestamp"].cast(pa.int64())).as_py()
    return BucketSummary(
        classes={name: _counts(labels[splits == i]) for i, name in enumerate(SPLITS)},
        stars={name: _counts(stars[splits == i]) for i, name in enumerate(SPLITS)},
        lengths=_counts(rows["num_tokens"].to_numpy() + cut),
        num_tokens=int(rows["num_tokens"].to_numpy().sum(dtype=np.int64)),
        truncated=int(np.count_nonzero(cut)),
        cut_tokens=int(cut.sum(dtype=np.int64)),
        texts_apart=bucket.texts_apart,
        first_ms=times["min"],
        last_ms=times["max"],
    )


def _counts(values: np.ndarray[Any, Any]) -> dict[str, int]:
    return {str(v): int(n) for v, n in zip(*np.unique(values, return_counts=True), strict=True)}
