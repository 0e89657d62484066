"""Writing of one file of a synthetic dump: gzipped JSON lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from isal import isal_zlib

from pipeline.errors import OutputError, SettingError
from pipeline.storage.explain import explain
from pipeline.storage.location import Location
from pipeline.storage.objectstore import upload
from pipeline.synth.broken import break_line, draw_kinds, kind_name
from pipeline.synth.formats import FORMATS
from pipeline.synth.reviews import BLOCK_ROWS, iter_reviews

Progress = Callable[[int], None]
"""Called with the number of rows written since the last call."""


@dataclass(frozen=True)
class DumpSpec:
    """Parameters of a dump.

    Raises:
        SettingError: rows < 1, shards < 1, shards > rows, seed < 0, an unknown format, or a broken_frac
            outside [0, 1]; the message shows the values.
    """

    rows: int
    """Number of lines, including broken ones."""
    shards: int = 1
    seed: int = 0
    fmt: str = "2018"
    """A name in `FORMATS`."""
    broken_frac: float = 0.0
    """Probability that a line is broken, with the kinds of `broken.KINDS`."""

    def __post_init__(self) -> None:
        given = f"rows={self.rows}, shards={self.shards}"
        if self.rows < 1 or self.shards < 1:
            raise SettingError(f"{given}: both must be at least 1")
        if self.shards > self.rows:
            raise SettingError(f"{given}: more shards than rows; use at most {self.rows} shards")
        if self.seed < 0:
            raise SettingError(f"seed={self.seed}: must be 0 or more")
        if self.fmt not in FORMATS:
            raise SettingError(f"format={self.fmt}: unknown; choose one of {', '.join(FORMATS)}")
        if not 0.0 <= self.broken_frac <= 1.0:
            raise SettingError(f"broken_frac={self.broken_frac}: must be between 0 and 1")

    def shard_name(self, shard: int) -> str:
        """File name of a shard, counted from 0."""
        return f"reviews-{shard:05d}-of-{self.shards:05d}.json.gz"

    def shard_rows(self, shard: int) -> range:
        """Rows of a shard; the sizes of shards differ by at most one row."""
        return range(shard * self.rows // self.shards, (shard + 1) * self.rows // self.shards)


class _Batch(NamedTuple):
    lines: bytes
    rows: int
    broken: Counter[str]


def write_shard(
    output: Location, spec: DumpSpec, shard: int, progress: Progress | None = None
) -> Counter[str]:
    """Write one file.

    Args:
        progress: called after each block of rows; an exception that it raises aborts the file.
    Returns:
        Number of broken lines by kind.
    Raises:
        OutputError: the file cannot be written.
    """
    broken: Counter[str] = Counter()
    # A gzip header without name and time.
    gzip = isal_zlib.compressobj(level=1, wbits=31)
    with _writing(output.child(spec.shard_name(shard))) as stream:
        for batch in _batches(spec, spec.shard_rows(shard)):
            stream.write(gzip.compress(batch.lines))
            broken += batch.broken
            if progress:
                progress(batch.rows)
        stream.write(gzip.flush())
    return broken


@contextmanager
def _writing(file: Location) -> Iterator[Any]:
    """Output stream of a file that appears when complete; unlike `write_bytes`, it needs little memory."""
    try:
        with upload(file.filesystem, file.path) as stream:
            yield stream
    except OSError as error:
        raise OutputError(f"{file.uri}: cannot be written: {explain(error)}") from None


def _batches(spec: DumpSpec, rows: range) -> Iterator[_Batch]:
    """Lines of some rows, one block at a time."""
    for block in range(rows.start // BLOCK_ROWS, -(-rows.stop // BLOCK_ROWS)):
        first = block * BLOCK_ROWS
        yield _encode_rows(spec, block, range(max(rows.start, first), min(rows.stop, first + BLOCK_ROWS)))


def _encode_rows(spec: DumpSpec, block: int, rows: range) -> _Batch:
    encode, fields_of = json.JSONEncoder().encode, FORMATS[spec.fmt]
    records = [fields_of(review) for review in iter_reviews(spec.seed, rows.start, rows.stop)]
    if not spec.broken_frac:
        return _Batch(("\n".join(map(encode, records)) + "\n").encode("ascii"), len(rows), Counter())
    kinds, draws = draw_kinds(spec.seed, block, spec.broken_frac)
    lines: list[bytes] = []
    broken: Counter[str] = Counter()
    for at, fields in enumerate(records, start=rows.start - block * BLOCK_ROWS):
        kind = kind_name(int(kinds[at]))
        if kind is None:
            lines.append(encode(fields).encode("ascii"))
        else:
            lines.append(break_line(fields, spec.fmt, kind, float(draws[at])))
            broken[kind] += 1
    return _Batch(b"\n".join(lines) + b"\n", len(rows), broken)
