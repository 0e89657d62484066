"""Write a synthetic dump, a file at a time or several processes at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.errors import SettingError
from pipeline.storage.location import Location
from pipeline.synth.shards import DumpSpec, Progress, write_shard
from pipeline.synth.workers import write_in_processes


@dataclass(frozen=True)
class WrittenDump:
    """What `write_dump` wrote."""

    files: list[Location]
    rows: int
    """Lines in all, broken ones included."""
    broken: dict[str, int]
    """Name in `broken.KINDS` → lines; those of which there are none are left out."""

    @property
    def broken_rows(self) -> int:
        """Broken lines of all kinds."""
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
    """Write `shards` gzip files of JSON lines into a directory.

    Memory holds one block of rows a process, whatever the number of rows. The same arguments give the same
    bytes; how many processes write does not matter.

    Args:
        rows, shards, seed, fmt, broken_frac: see `DumpSpec`.
        workers: processes; no more than shards are started, and with one, this process writes.
        progress: called as rows are written.
    Raises:
        SettingError: see `DumpSpec`; or workers < 1.
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
