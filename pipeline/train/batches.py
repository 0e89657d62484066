"""Batches of a prepared split: shuffled, streamed in bounded memory, the same for any number of workers.

Every worker walks the same sequence of global batches, which the seed and the epoch fix, and takes its
part of each. So all workers take equally many steps, and a restart finds its place by counting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.arrays import IntArray
from pipeline.model.ragged import Ragged
from pipeline.storage.location import locate
from pipeline.train.seeds import derive_seed

WINDOW_ROWS = 1 << 18
"""Rows held and shuffled together; parts are taken in random order besides."""

_GROUP_BATCHES = 50
"""Rows of so many batches are sorted by length before they are cut: less padding, still random."""


@dataclass(frozen=True)
class Rows:
    """Encoded reviews and their classes."""

    ids: Ragged
    labels: IntArray
    """(N,) int64."""

    def __len__(self) -> int:
        return len(self.labels)


def read_rows(parts: list[str]) -> Iterator[pa.Table]:
    """The columns needed of each part, in the order given."""
    for uri in parts:
        with locate(uri).open_input() as file:
            yield pq.read_table(file, columns=["input_ids", "label"])


def to_rows(table: pa.Table) -> Rows:
    """Arrow to NumPy."""
    return Rows(Ragged.of(table["input_ids"]), table["label"].to_numpy().astype(np.int64))


def epoch_batches(
    parts: list[str], batch_rows: int, seed: int, epoch: int, *, window_rows: int = WINDOW_ROWS
) -> Iterator[tuple[Rows, IntArray]]:
    """The global batches of one epoch.

    Args:
        parts: URIs of the Parquet parts of the split.
        batch_rows: rows in a batch; only the last of the epoch is smaller.
    Yields:
        Some rows, and the numbers (B,) of those that make the batch, by falling length. Each row of the
        split is in exactly one batch.
    """
    rng = np.random.default_rng(derive_seed(seed, "shuffle", epoch))
    order = [parts[i] for i in rng.permutation(len(parts))]
    left: pa.Table | None = None
    for window, last in _windows(order, window_rows):
        table = window if left is None else pa.concat_tables([left, window])
        rows = to_rows(table)
        permuted = rng.permutation(len(rows))
        whole = len(rows) if last else len(rows) // batch_rows * batch_rows
        for batch in _grouped(permuted[:whole], rows.ids.lengths, batch_rows, rng):
            yield rows, batch
        left = table.take(pa.array(permuted[whole:]))


def _windows(parts: list[str], window_rows: int) -> Iterator[tuple[pa.Table, bool]]:
    """Parts joined up to at least `window_rows` rows, and whether it is the last window."""
    held: list[pa.Table] = []
    tables = read_rows(parts)
    for number, table in enumerate(tables, start=1):
        held.append(table)
        if number == len(parts) or sum(t.num_rows for t in held) >= window_rows:
            yield pa.concat_tables(held), number == len(parts)
            held = []


def _grouped(
    rows: IntArray, lengths: IntArray, batch_rows: int, rng: np.random.Generator
) -> Iterator[IntArray]:
    """Cut shuffled rows into batches of similar length, in random order; a short batch comes last."""
    group = batch_rows * _GROUP_BATCHES
    batches: list[IntArray] = []
    for start in range(0, len(rows), group):
        part = rows[start : start + group]
        part = part[np.argsort(-lengths[part], kind="stable")]
        batches += [part[i : i + batch_rows] for i in range(0, len(part), batch_rows)]
    full = [b for b in batches if len(b) == batch_rows]
    for index in rng.permutation(len(full)):
        yield full[index]
    yield from (b for b in batches if len(b) < batch_rows)


def my_part(batch: IntArray, rank: int, world: int) -> IntArray:
    """The rows of a global batch that one worker computes: every `world`-th, so lengths are alike.

    Rows go by falling length, so worker 0 is never without; another may be in the epoch's last batch.

    Args:
        batch: (B,) numbers of rows.
        rank: of the worker, in [0, world).
    Returns:
        (B / world,) of them, rounded up or down.
    """
    return batch[rank::world]
