"""Write a synthetic review dump: for the demo, tests and benchmarks."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import run, session
from jobs.options import Output
from pipeline.humanize import counted

_FEW_ROWS = 200_000
"""With fewer rows, the startup of processes takes longer than it saves."""


def main(
    output: Output,
    rows: Annotated[int, typer.Option(help="Number of lines, including broken ones.")] = 20_000,
    shards: Annotated[int, typer.Option(help="Number of files.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    fmt: Annotated[
        str, typer.Option("--format", metavar="2014|2018|2023", help="Generation of the Amazon dumps.")
    ] = "2018",
    broken_frac: Annotated[
        float, typer.Option(help="Fraction of lines that cannot be parsed, 0 to 1.")
    ] = 0.0,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that write; by default one, or one per core for a large dump."),
    ] = None,
) -> None:
    """Write synthetic reviews in the format of the Amazon dumps: gzipped JSON lines."""
    with session("synth") as job:
        import os

        from pipeline.errors import SettingError
        from pipeline.storage.location import locate
        from pipeline.synth import DumpSpec, claim, write_dump

        spec = DumpSpec(rows, shards, seed, fmt, broken_frac)
        if workers is None:
            workers = 1 if rows < _FEW_ROWS else os.cpu_count() or 1
        if workers < 1:
            raise SettingError(f"workers={workers}: must be at least 1")
        where = locate(output)
        deleted = claim(where, spec)
        if deleted:
            files = counted(len(deleted), "file")
            job.reporter.say(f"synth: deleted {files} of an earlier dump with unknown parameters")
        with job.reporter.meter("synth") as meter:

            def count(more: int) -> None:
                meter.update(meter.rows + more, (meter.rows + more) / rows)
                job.reporter.refresh()

            dump = write_dump(
                where, rows, shards, seed, fmt=fmt, broken_frac=broken_frac, workers=workers, progress=count
            )
        size = sum(file.info().size for file in dump.files)
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in dump.broken.items())
        broken = f", {dump.broken_rows:,} of them broken ({kinds})" if dump.broken else ""
        job.reporter.say(
            f"synth: {counted(rows, 'review')}{broken}, {counted(len(dump.files), 'file')},"
            f" {counted(size, 'byte')} → {where.uri}"
        )


if __name__ == "__main__":
    run(main)
