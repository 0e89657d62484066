"""Write a synthetic review dump: for the demo, tests and benchmarks."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import Output, run, session


def main(
    output: Output,
    rows: Annotated[int, typer.Option(help="Reviews in all.")] = 20_000,
    shards: Annotated[int, typer.Option(help="Files to share them out to.")] = 4,
    seed: Annotated[int, typer.Option(help="The same seed gives the same reviews.")] = 0,
) -> None:
    """Write synthetic reviews in the 2018 Amazon format, gzipped JSON lines."""
    with session("synth") as job:
        from pipeline.errors import OutputError
        from pipeline.storage import check_writable, locate
        from pipeline.synth import DumpSpec, write_dump

        where = locate(output)
        spec = DumpSpec(rows=rows, shards=shards, seed=seed)
        own = {spec.shard_name(k) for k in range(shards)}
        others = [f for f in where.list_files() if f.name not in own]
        if others:
            raise OutputError(
                f"{where.uri}: holds {others[0].name}, which is not of this dump; choose an empty or new"
                " --output"
            )
        check_writable(where)
        files = write_dump(where, rows=rows, shards=shards, seed=seed)
        size = sum(f.info().size for f in files)
        job.reporter.say(f"synth: {rows:,} reviews, {len(files)} files, {size:,} bytes → {where.uri}")


if __name__ == "__main__":
    run(main)
