"""Benchmarks of rayview's own limits: memory, scaling and start-up time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pipeline.benchmarks.common import MAX_LENGTH
from pipeline.benchmarks.options import Calls, Entries, Options, Output
from pipeline.benchmarks.rounds import results, run_rounds
from pipeline.config import DEFAULT_MODEL
from pipeline.humanize import counted
from pipeline.storage.location import locate
from pipeline.synth import write_dump

_SCALE_ACTORS = (1, 2, 4, 8, 16)
_START_ROWS = 500
_SHARDS = 8


def bench_memory(out: Output, options: Options) -> Entries:
    """Peak memory of prepare and score on a gz file, and on a file a fifth as large; it must not grow."""
    from pipeline.benchmarks.growth import measure_growth

    rows = (options.rows // 5, options.rows)
    with tempfile.TemporaryDirectory() as work:
        runs = measure_growth(Path(work), rows)
    out.print(f"| peak of the largest process, MiB | {rows[0]:,} rows | {rows[1]:,} rows | growth |")
    out.print("|---|---|---|---|")
    entries = []
    for small, large in zip(runs[::2], runs[1::2], strict=True):
        for kind, peak in large.peak_bytes.items():
            before = small.peak_bytes[kind]
            name = f"{small.job}, {kind}"
            out.print(f"| {name} | {before >> 20:,} | {peak >> 20:,} | {peak / before - 1:+.0%} |")
            bench, contender = "memory", f"{name} on {small.rows} rows"
            entries.append(_bytes_entry(bench, contender, peak, low=peak, ratio=before / peak))
        out.say(f"{small.job} took {small.seconds:.0f} s and {large.seconds:.0f} s")
    return entries


def bench_backlog(out: Output, options: Options) -> Entries:
    """Memory over the course of a long job in which the model is the bottleneck."""
    from pipeline.benchmarks.backlog import run_bottleneck

    with tempfile.TemporaryDirectory() as work:
        usage = run_bottleneck(Path(work), options.rows, options.minutes)
    out.print(f"| largest process, MiB, {usage.seconds / 60:.0f} minutes | first quarter | last quarter | |")
    out.print("|---|---|---|---|")
    entries = []
    for kind, (first, last) in usage.peak_bytes.items():
        out.print(f"| {kind} | {first >> 20:,} | {last >> 20:,} | {last / first - 1:+.0%} |")
        bench = f"backlog, {options.rows} rows in {options.minutes} minutes"
        entries.append(_bytes_entry(bench, kind, last, low=first, ratio=first / last))
    out.print(
        f"{usage.chunks:,} chunks, of which at most {usage.max_waiting_chunks:,} waited for the model. Ray"
        f" spilled {usage.spilled_bytes >> 20:,} MiB; shared memory of all programs grew by at most"
        f" {usage.store_bytes >> 20:,} MiB."
    )
    return entries


def _bytes_entry(bench: str, contender: str, size: int, *, low: int, ratio: float) -> dict[str, Any]:
    return {
        "bench": bench,
        "contender": contender,
        "unit": "bytes",
        "median": size,
        "low": low,
        "high": size,
        "ratio": ratio,
    }


def bench_start(out: Output, options: Options) -> Entries:
    """Seconds from the command to the first scored rows of a small file, in total and by step."""
    from pipeline.benchmarks.models import write_model

    whole = "jobs.score, from the command to the first part"
    with tempfile.TemporaryDirectory() as work:
        write_model(Path(work, "model"), options.model, MAX_LENGTH)
        write_dump(locate(f"{work}/dump"), rows=_START_ROWS, shards=1, seed=0)
        model = {"model": f"{work}/model"}
        functions: Calls = {
            whole: ("first_rows", {**model, "dump": f"{work}/dump", "output": f"{work}/out"}),
            "Ray only": ("ray_only", {}),
            "the model only, in an actor": ("our_model_only", model),
            "the model only, in transformers": ("transformers_model_only", model),
        }
        calls = {name: (f"pipeline.benchmarks.start:{f}", more) for name, (f, more) in functions.items()}
        seconds = run_rounds(calls, options.rounds, out.say)
    entries = results(f"start, {_START_ROWS} reviews", "s", seconds, ours=whole)
    out.print(f"| {entries[0]['bench']} | s | low – high |")
    out.print("|---|---|---|")
    for e in entries:
        out.print(f"| {e['contender']} | {e['median']:.1f} | {e['low']:.1f} – {e['high']:.1f} |")
    return entries


def bench_scale(out: Output, options: Options) -> Entries:
    """Scoring with 1 to 16 actors that sleep as long as a GPU would compute."""
    from pipeline.benchmarks.models import write_model
    from pipeline.benchmarks.scale import ROWS_PER_S

    names = {n: counted(n, "actor") for n in _SCALE_ACTORS}
    with tempfile.TemporaryDirectory() as work:
        write_model(Path(work, "model"), DEFAULT_MODEL, MAX_LENGTH)
        write_dump(locate(f"{work}/dump"), rows=options.rows, shards=_SHARDS, seed=0)
        arguments = {"dump": f"{work}/dump", "model": f"{work}/model", "output": f"{work}/out"}
        target = "pipeline.benchmarks.scale:sleeping_actors"
        calls = {name: (target, {**arguments, "actors": n}) for n, name in names.items()}
        seconds = run_rounds(calls, options.rounds, out.say)
    rates = {name: [options.rows / s for s in values] for name, values in seconds.items()}
    entries = results(f"scale, {options.rows:,} reviews", "rows/s", rates, ours=names[1])
    for entry, actors in zip(entries, _SCALE_ACTORS, strict=True):
        entry["of_linear_frac"] = entry["median"] / (actors * ROWS_PER_S)
        entry["ratio"] = 1 / entry["ratio"]
    out.print(f"| actors of {ROWS_PER_S:,} rows/s each | rows/s | low – high | of linear |")
    out.print("|---|---|---|---|")
    for e in entries:
        spread = f"{e['low']:,.0f} – {e['high']:,.0f}"
        out.print(f"| {e['contender']} | {e['median']:,.0f} | {spread} | {e['of_linear_frac']:.2f} |")
    return entries
