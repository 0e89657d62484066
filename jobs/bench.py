"""Side-by-side benchmarks: ours and what others would use, in one call, on the same data."""

from __future__ import annotations

import json
import platform
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli import run, session


class Device(str, Enum):
    """What computes."""

    CPU = "cpu"
    GPU = "gpu"


def main(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="What to run: quality, memory, backlog, encode, ingest, score, start, scale, train.",
        ),
    ],
    run_dir: Annotated[
        str, typer.Option("--run", metavar="DIR", help="Output of jobs.run, for the benchmark quality.")
    ] = "demo/out",
    rows: Annotated[
        int | None,
        typer.Option(
            min=1000,
            help="Reviews of the largest dump that is written to measure on; by default a million, for the"
            " benchmarks score and train 16,000.",
        ),
    ] = None,
    input_file: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="A dump for encode and score, besides their own."),
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="Where to score; by default on a GPU where there is one.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Model to score with; bert-base-random is BERT-base with random weights, the default on a"
            " GPU.",
        ),
    ] = None,
    minutes: Annotated[
        int, typer.Option(min=1, help="How long the simulated job of the benchmark backlog takes.")
    ] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs.")] = 3,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Of ingest, score and train: rayview, and those with TEXT in their names."
        ),
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Also write the figures there.")
    ] = None,
) -> None:
    """Compare rayview with what others use."""
    with session("bench") as job:
        from pipeline.benchmarks.suite import BENCHES, HAVE_CONTENDERS, Options, Output
        from pipeline.errors import SettingError

        for name in names:
            if name not in BENCHES:
                raise SettingError(f"no benchmark {name}; there are {', '.join(BENCHES)}")
            if only is not None and name not in HAVE_CONTENDERS:
                raise SettingError(f"--only {only} goes with {', '.join(HAVE_CONTENDERS)}, not with {name}")
        output = Output(job.print, job.reporter.say)
        asked_device = device and device.value
        options = Options(run_dir, rows, rounds, input_file, asked_device, model, minutes, only)
        results = [row for name in names for row in BENCHES[name](output, options)]
        if json_file is not None:
            _write_record(Path(json_file), results)


def _write_record(file: Path, results: list[dict[str, Any]]) -> None:
    """Write figures, and what they were measured with, as JSON."""
    from pipeline.rundir.manifest import environment

    about = environment()
    record = {
        "machine": {"platform": about["platform"], "processor": platform.machine()},
        "versions": {"python": about["python"], **about["packages"]},
        "commit": about["git_commit"],
        "results": results,
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
