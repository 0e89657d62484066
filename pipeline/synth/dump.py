"""Writing of a synthetic dump, in this process or in several processes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.errors import SettingError
from pipeline.storage.location import Location
from pipeline.synth.shards import DumpSpec, Progress, write_shard
from pipeline.synth.workers import write_in_processes


@dataclass(frozen=True)
class WrittenDump:
    """Result of `write_dump`."""

    files: list[Location]
    rows: int
    """Number of lines, including broken ones."""
    broken: dict[str, int]
    """Name in `broken.KINDS` → number of lines, without kinds that do not occur."""

    @property
    def broken_rows(self) -> int:
        """Number of broken lines of all kinds."""
        return sum(self.broken.values())


def write_dump(
    output: Location,
    rows: int,
    shards: int = 1,
    seed: int = 0,
    *,
    fmt: str = "2018",
    broken_frac: float = 0.0,
    workers: int = 1,
    progress: Progress | None = None,
) -> WrittenDump:
    """Write `shards` gzip files of JSON lines to a directory.

    Each process keeps one block of rows in memory. The same arguments result in the same bytes, for any
    number of workers.

    Args:
        output: directory to write to.
        rows, shards, seed, fmt, broken_frac: see `DumpSpec`.
        workers: number of processes, at most one per shard; with 1, this process writes.
        progress: called when rows have been written.
    Raises:
        SettingError: see `DumpSpec`, or workers < 1.
        OutputError: a file cannot be written.
    """
    if workers < 1:
        raise SettingError(f"workers={workers}: must be at least 1")
    spec = DumpSpec(rows, shards, seed, fmt, broken_frac)
    broken: Counter[str] = Counter()
    if min(workers, shards) == 1:
        for shard in range(shards):
            broken += write_shard(output, spec, shard, progress)
    else:
        broken = write_in_processes(output, spec, min(workers, shards), progress)
    files = [output.child(spec.shard_name(shard)) for shard in range(shards)]
    return WrittenDump(files, rows, dict(sorted(broken.items())))
