"""Side-by-side benchmarks: ours and what others would use, in one call, on the same data."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli import run, session

if TYPE_CHECKING:
    from jobs.cli import Session

_SHARDS = 8
"""Files of the dump for the benchmark ingest, so that readers that take a file at a time use all cores."""


def main(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="What to run: quality, memory, encode, ingest.")
    ],
    run_dir: Annotated[
        str, typer.Option("--run", metavar="DIR", help="Output of jobs.run, for the benchmark quality.")
    ] = "demo/out",
    rows: Annotated[
        int, typer.Option(min=1000, help="Reviews of the largest dump that is written to measure on.")
    ] = 1_000_000,
    input_file: Annotated[
        str | None,
        typer.Option("--input", metavar="FILE", help="A dump for the benchmark encode, besides its own."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often each contender of encode and ingest runs.")
    ] = 3,
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
        options = Options(run_dir, rows, rounds, input_file)
        results = [row for name in names for row in _BENCHES[name](job, options)]
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


@dataclass(frozen=True)
class Options:
    """What the benchmarks are asked for."""

    run_dir: str
    rows: int
    rounds: int
    input_file: str | None = None


def bench_quality(job: Session, options: Options) -> list[dict[str, Any]]:
    """The model of a run against the majority class and TF-IDF with logistic regression, same test rows."""
    from pipeline.evaluate.baseline import compare

    figures = compare(options.run_dir)
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


def bench_memory(job: Session, options: Options) -> list[dict[str, Any]]:
    """Memory of prepare on one gz file, and on one a fifth as large: it must not grow with the file."""
    from pipeline.benchmarks.growth import measure_growth

    with tempfile.TemporaryDirectory() as work:
        small, large = measure_growth(Path(work), (options.rows // 5, options.rows), [])
    job.print(f"| peak of the largest, MiB | {small.rows:,} rows | {large.rows:,} rows | growth |")
    job.print("|---|---|---|---|")
    results = []
    for kind, peak in large.peak_bytes.items():
        before = small.peak_bytes[kind]
        job.print(f"| {kind} | {before >> 20:,} | {peak >> 20:,} | {peak / before - 1:+.0%} |")
        results.append(
            {
                "bench": "memory",
                "contender": f"{kind} on {small.rows} rows",
                "unit": "bytes",
                "median": peak,
                "low": peak,
                "high": peak,
                "ratio": before / peak,
            }
        )
    job.print(f"prepare took {small.seconds:.0f} s and {large.seconds:.0f} s")
    return results


def bench_encode(job: Session, options: Options) -> list[dict[str, Any]]:
    """Rows per second of the encoder and of `encode_batch_fast`, one core each, from an empty cache."""
    from pipeline.benchmarks.encode import race, read_texts, synthetic_texts
    from pipeline.benchmarks.rounds import results
    from pipeline.storage import locate

    with tempfile.TemporaryDirectory() as work:
        data = {f"{options.rows:,} synthetic reviews": synthetic_texts(Path(work), options.rows)}
    if options.input_file is not None:
        data[Path(options.input_file).name] = read_texts(locate(options.input_file))
    entries = []
    for name, chunks in data.items():
        found = results(f"encode, {name}", "rows/s", race(chunks, options.rounds), ours="rayview")
        entries += _show(job, found)
    return entries


def bench_ingest(job: Session, options: Options) -> list[dict[str, Any]]:
    """gz to token ids in Parquet, on all cores: ours, Ray Data's stock pattern, Hugging Face datasets."""
    from pipeline.benchmarks.rounds import results, run_rounds
    from pipeline.storage import locate
    from pipeline.synth import write_dump

    with tempfile.TemporaryDirectory() as work:
        dump = f"{work}/dump"
        write_dump(locate(dump), rows=options.rows, shards=_SHARDS, seed=0)

        def call(function: str, **more: Any) -> tuple[str, dict[str, Any]]:
            return f"pipeline.benchmarks.ingest:{function}", {"dump": dump, "output": f"{work}/out", **more}

        seconds = run_rounds(
            {
                "rayview, encoding alone": call("ours", whole=False),
                "rayview, whole prepare (also deduplicates, splits and shuffles)": call("ours", whole=True),
                "Ray Data: read_json, map_batches, write_parquet": call("ray_stock"),
                "Hugging Face datasets": call("hugging_face"),
            },
            options.rounds,
            job.reporter.say,
        )
    rates = {name: [options.rows / s for s in values] for name, values in seconds.items()}
    name = f"ingest, {options.rows:,} reviews in {_SHARDS} gz files"
    return _show(job, results(name, "rows/s", rates, ours="rayview, encoding alone"))


def _show(job: Session, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from pipeline.benchmarks.rounds import table

    for line in table(entries):
        job.print(line)
    return entries


_BENCHES: dict[str, Callable[[Session, Options], list[dict[str, Any]]]] = {
    "quality": bench_quality,
    "memory": bench_memory,
    "encode": bench_encode,
    "ingest": bench_ingest,
}

if __name__ == "__main__":
    run(main)
