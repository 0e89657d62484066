"""Side-by-side benchmarks of rayview and its alternatives on the same data."""

from __future__ import annotations

import json
import platform
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import run, session

if TYPE_CHECKING:
    from pipeline.benchmarks.options import Entries


class Device(str, Enum):
    """Where the models run."""

    CPU = "cpu"
    GPU = "gpu"


def main(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help="Benchmarks: quality, memory, backlog, encode, ingest, score, families, start, scale,"
            " train.",
        ),
    ],
    run_dir: Annotated[
        str, typer.Option("--run", metavar="DIR", help="Output of jobs.run, for quality.")
    ] = "demo/out",
    rows: Annotated[
        int | None,
        typer.Option(
            min=1000,
            help="Reviews in the largest synthetic dump; by default a million, or 16,000 for score, families"
            " and train.",
        ),
    ] = None,
    input_file: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="FILE", help="A dump for encode and score, in addition to their own."
        ),
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="Where to score; by default on a GPU if there is one.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Model to score with; bert-base-random, the default on a GPU, has random weights.",
        ),
    ] = None,
    minutes: Annotated[int, typer.Option(min=1, help="Duration of the simulated job of backlog.")] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each contender.")] = 3,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="In ingest, score and train: run rayview and contenders with TEXT in the name.",
        ),
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """Compare rayview with its alternatives."""
    with session("bench") as job:
        from pipeline.benchmarks.options import Options, Output
        from pipeline.benchmarks.suite import BENCHES, HAVE_CONTENDERS
        from pipeline.errors import SettingError

        for name in names:
            if name not in BENCHES:
                raise SettingError(f"unknown benchmark {name}; the benchmarks are {', '.join(BENCHES)}")
            if only is not None and name not in HAVE_CONTENDERS:
                raise SettingError(
                    f"--only {only} does not apply to {name}, only to {', '.join(HAVE_CONTENDERS)}"
                )
        output = Output(job.print, job.reporter.say)
        asked_device = device and device.value
        options = Options(run_dir, rows, rounds, input_file, asked_device, model, minutes, only)
        results = [row for name in names for row in BENCHES[name](output, options)]
        if json_file is not None:
            _write_record(Path(json_file), results)


def _write_record(file: Path, results: Entries) -> None:
    """Write figures and the environment that they were measured in as JSON."""
    from pipeline.rundir.environment import environment

    about = environment()
    record = {
        "machine": {"platform": about.platform, "processor": platform.machine()},
        "versions": {"python": about.python, **about.packages},
        "commit": about.git_commit,
        "results": results,
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
