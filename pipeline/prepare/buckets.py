"""Buckets: all reviews whose text hashes are in one range, deduplicated and in order.

Equal texts are always in the same bucket, so a bucket can be deduplicated independently. Its rows are
sorted by hash, which is as good as a shuffle and does not depend on the order in which they arrive.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, Int32Array, IntArray
from pipeline.config import DedupConfig
from pipeline.ingest.parse.rejects import Reason
from pipeline.prepare.restore_rejects import REMOVED_SCHEMA

ENCODED_SCHEMA = pa.schema(
    [
        ("source", pa.dictionary(pa.int32(), pa.string())),
        ("line", pa.int64()),
        ("text_hash", pa.int64()),
        ("stars", pa.float32()),
        ("label", pa.int32()),
        ("input_ids", pa.list_(pa.int32())),
        ("num_tokens", pa.int32()),
        ("truncated", pa.bool_()),
    ]
)
"""A row of data/{train,val,test}; see architecture.md, Encoded row."""

BUCKET_SCHEMA = pa.schema(
    [
        *ENCODED_SCHEMA,
        ("text_hash_low", pa.int64()),
        ("cut_tokens", pa.int32()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("split", pa.int8()),
        ("file", pa.int32()),
    ]
)
"""A row of encoded/, before it is assigned to a bucket."""

_HASHES = 2**64
_REASONS = (Reason.DUPLICATE, Reason.CONFLICTING_STARS)
"""Why a row is removed: another row with its text is kept, or no row with its text is."""


@dataclass(frozen=True)
class Bucket:
    """Kept and removed rows of one bucket."""

    rows: pa.Table
    """Kept rows, with the schema BUCKET_SCHEMA, in order of their hashes."""
    removed: pa.Table
    """Removed rows, with the schema REMOVED_SCHEMA, in order of file and line."""
    rejected: dict[int, dict[str, int]]
    """Number of removed rows by file and reason."""
    groups: Counter[int]
    """Number of texts by number of occurrences."""
    conflicts: int
    """Number of texts that occur with different stars."""
    texts_apart: int = 0
    """Number of texts in more than one split; counted only without deduplication."""


def bucket_edges(buckets: int) -> list[int]:
    """The first hash of each bucket except the first; all buckets are equally wide.

    Returns:
        (buckets - 1) int64 values, ascending.
    """
    return [i * _HASHES // buckets - _HASHES // 2 for i in range(1, buckets)]


def close_bucket(rows: pa.Table, dedup: DedupConfig) -> Bucket:
    """Sort the rows of a bucket and remove duplicates.

    Args:
        rows: all rows of the bucket, with the schema BUCKET_SCHEMA, in any order.
    """
    rows = _in_order(rows)
    hashes = np.stack([rows[n].to_numpy() for n in ("text_hash", "text_hash_low")])
    new_text = np.any(np.diff(hashes, prepend=~hashes[:, :1]) != 0, axis=0)
    starts = np.flatnonzero(new_text)
    sizes = np.diff(starts, append=rows.num_rows)
    labels, stars = rows["label"].to_numpy(), rows["stars"].to_numpy()
    # Rows with word labels have no stars.
    conflicts = int(np.count_nonzero(_differ(labels if rows["stars"].null_count else stars, starts)))
    groups = Counter(dict(zip(*(v.tolist() for v in np.unique(sizes, return_counts=True)), strict=True)))
    if not dedup.enabled:
        apart = int(np.count_nonzero(_differ(rows["split"].to_numpy(), starts)))
        return Bucket(rows, REMOVED_SCHEMA.empty_table(), {}, groups, conflicts, apart)
    # Index of the row that is kept instead of each row; -1 if none is.
    keeper = starts.copy()
    for group in np.flatnonzero(_differ(labels, starts)):
        span = labels[starts[group] : starts[group] + sizes[group]]
        keeper[group] = -1 if dedup.conflict == "drop" else starts[group] + _first_of_commonest(span)
    keeper = np.repeat(keeper, sizes)
    kept = keeper == np.arange(rows.num_rows)
    removed, rejected = _removed(rows, kept, keeper)
    return Bucket(rows.filter(pa.array(kept)), removed, rejected, groups, conflicts)


def _in_order(rows: pa.Table) -> pa.Table:
    keys = ("line", "file", "text_hash_low", "text_hash")
    order = np.lexsort([rows[name].to_numpy() for name in keys])
    rows = rows.take(pa.array(order)).combine_chunks()
    # Encoded again: otherwise the dictionary, and thus the file, depends on the order in which rows arrived.
    sources = rows["source"].cast(pa.string()).combine_chunks().dictionary_encode()
    return rows.set_column(0, rows.schema.field(0), sources)


def _differ(values: npt.NDArray[Any], starts: IntArray) -> BoolArray:
    """(groups,) bool: whether the values of each group differ."""
    if not len(values):
        return np.zeros(0, np.bool_)
    return np.asarray(np.minimum.reduceat(values, starts) != np.maximum.reduceat(values, starts))


def _first_of_commonest(labels: Int32Array) -> int:
    """Index of the first row with the most common label; on a tie, of the earliest such label."""
    found, first, times = np.unique(labels, return_index=True, return_counts=True)
    commonest = first[times == times.max()]
    return int(commonest.min()) if len(found) else 0


def _removed(rows: pa.Table, kept: BoolArray, keeper: IntArray) -> tuple[pa.Table, dict[int, dict[str, int]]]:
    gone = np.flatnonzero(~kept)
    gone = gone[np.lexsort([rows[n].to_numpy()[gone] for n in ("line", "file")])]
    lines, files = rows["line"].to_numpy(), rows["file"].to_numpy()[gone]
    conflicting = keeper[gone] < 0
    reasons = pa.array([reason.value for reason in _REASONS]).take(pa.array(conflicting.astype(np.int8)))
    # Vectorized, because the rows of a single frequent text may fill the bucket.
    found = pa.array(keeper[gone], mask=conflicting)
    sources, places = (rows[n].take(found).cast(pa.string()).combine_chunks() for n in ("source", "line"))
    same = pc.binary_join_element_wise("same text as ", sources, ", line ", places, "")
    rejected: dict[int, dict[str, int]] = {}
    for number, reason in enumerate(_REASONS):
        for file, times in zip(*np.unique(files[conflicting == number], return_counts=True), strict=True):
            rejected.setdefault(int(file), {})[reason.value] = int(times)
    table = pa.table(
        {
            "file": files,
            "line": lines[gone],
            "reason": reasons.dictionary_encode(),
            "detail": pc.fill_null(same, "same text in another class elsewhere"),
        },
        schema=REMOVED_SCHEMA,
    )
    return table, rejected


def leak_frac(groups: Counter[int], train_frac: float) -> float:
    """Expected share of test rows whose text is also in the training rows, if rows are split at random.

    Args:
        groups: number of texts by number of occurrences.
        train_frac: share of the rows in the training split.
    Returns:
        In [0, 1]; 0 if there are no rows. A row whose text occurs k times leaks unless all other rows with
        that text are outside the training split: 1 - (1 - train_frac)^(k - 1).
    """
    rows = sum(size * texts for size, texts in groups.items())
    leaked = sum(size * texts * (1 - (1 - train_frac) ** (size - 1)) for size, texts in groups.items())
    return leaked / rows if rows else 0.0
