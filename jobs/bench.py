"""Side-by-side benchmarks: ours and what others would use, in one call, on the same data."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli import run, session

if TYPE_CHECKING:
    from jobs.cli import Session


def main(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Benchmarks to run: quality.")],
    run_dir: Annotated[
        str, typer.Option("--run", metavar="DIR", help="Output of jobs.run, for the benchmark quality.")
    ] = "demo/out",
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Also write the figures there.")
    ] = None,
) -> None:
    """Compare rayview with what others use."""
    with session("bench") as job:
        from pipeline.errors import SettingError
        from pipeline.manifest import environment

        for name in names:
            if name not in _BENCHES:
                raise SettingError(f"no benchmark {name}; there are {', '.join(_BENCHES)}")
        results = [row for name in names for row in _BENCHES[name](job, run_dir)]
        if json_file is not None:
            about = environment()
            record = {
                "machine": {
                    "platform": about["platform"],
                    "processor": platform.machine(),
                },
                "versions": {"python": about["python"], **about["packages"]},
                "commit": about["git_commit"],
                "results": results,
            }
            Path(json_file).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def bench_quality(job: Session, run_dir: str) -> list[dict[str, Any]]:
    """The model of a run against the majority class and TF-IDF with logistic regression, same test rows."""
    from pipeline.evaluate.baseline import compare

    figures = compare(run_dir)
    names = ("accuracy", "weighted_f1", "macro_f1", "mae", "roc_auc_macro")
    _print_table(job, figures, names)
    ours = figures["rayview"]
    return [
        {
            "bench": "quality",
            "contender": contender,
            "unit": unit,
            "median": values[unit],
            "low": values[unit],
            "high": values[unit],
            # More than 1 is better for us; for an error that is theirs over ours.
            "ratio": values[unit] / ours[unit] if unit == "mae" else ours[unit] / values[unit],
        }
        for contender, values in figures.items()
        for unit in names
    ]


def _print_table(job: Session, figures: dict[str, dict[str, float]], names: tuple[str, ...]) -> None:
    job.print("| | " + " | ".join(names) + " |")
    job.print("|---|" + "---|" * len(names))
    for contender, values in figures.items():
        job.print(f"| {contender} | " + " | ".join(f"{values[n]:.3f}" for n in names) + " |")


_BENCHES: dict[str, Callable[[Session, str], list[dict[str, Any]]]] = {"quality": bench_quality}

if __name__ == "__main__":
    run(main)
