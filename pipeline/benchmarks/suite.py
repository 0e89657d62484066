"""What `jobs.bench` runs: each benchmark makes its data, lets its contenders run, and tells the figures."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROWS, _TRAIN_ROWS = 1_000_000, 16_000
_SCORE_ROWS = {"cpu": 16_000, "gpu": 1_000_000}
_SCALE_ACTORS = (1, 2, 4, 8, 16)
_SCORE_PART = {"cpu": 4, "gpu": 64}
"""The slower contenders of the benchmark score get the first of so many parts of each file: at a tenth of the
rate, to score all would take an hour, and tell the same."""

_START_ROWS = 500

_SHARDS = 8
"""Files of a dump, so that readers that take a file at a time use all cores."""

_OURS = ("pipeline.benchmarks.score:ours", "pipeline.benchmarks.score:forward_alone")

Calls = dict[str, tuple[str, dict[str, Any]]]
"""By contender, what runs it: see rounds.run_rounds."""

Entries = list[dict[str, Any]]
"""For `jobs.bench --json`: see rounds.results."""


@dataclass(frozen=True)
class Output:
    """Where a benchmark tells its figures, and how far it is."""

    print: Callable[[str], None]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What the benchmarks are asked for."""

    run_dir: str
    asked_rows: int | None
    rounds: int
    input_file: str | None = None
    asked_device: str | None = None
    asked_model: str | None = None
    minutes: int = 60
    """How long the simulated job of the benchmark backlog takes."""
    only: str | None = None
    """Of ingest, score and train: the contenders that have this in their names, besides the first."""

    def chosen(self, calls: Calls) -> Calls:
        """The contenders that are asked for, of all; the first is ours, which they are compared with.

        Raises:
            SettingError: there is none of such a name.
        """
        from pipeline.errors import SettingError

        ours, *others = calls
        wanted = [who for who in others if (self.only or "") in who]
        if not wanted:
            raise SettingError(f"--only {self.only}: no contender has that in its name: {'; '.join(others)}")
        return {who: calls[who] for who in (ours, *wanted)}

    @property
    def rows(self) -> int:
        """Reviews to read, where that is all there is to do."""
        return self.asked_rows or _ROWS

    @property
    def score_rows(self) -> int:
        """Reviews to score."""
        return self.asked_rows or _SCORE_ROWS[self.device]

    @property
    def device(self) -> str:
        """cpu or gpu: the one asked for, or a GPU where this machine has one."""
        from pipeline.config import ClusterConfig
        from pipeline.runtime.connect import survey

        return self.asked_device or ("gpu" if survey(ClusterConfig()).gpus else "cpu")

    @property
    def model(self) -> str:
        """Name of the model that scores: the one asked for, or one that suits the device."""
        from pipeline.benchmarks.models import RANDOM_BASE
        from pipeline.config import DEFAULT_MODEL

        return self.asked_model or (RANDOM_BASE if self.device == "gpu" else DEFAULT_MODEL)


def bench_quality(out: Output, options: Options) -> Entries:
    """The model of a run against the majority class and TF-IDF with logistic regression, same test rows."""
    from pipeline.evaluate.baseline import compare

    figures = compare(options.run_dir)
    names = ("accuracy", "weighted_f1", "macro_f1", "mae", "roc_auc_macro")
    _print_table(out, figures, names)
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


def _print_table(out: Output, figures: dict[str, dict[str, float]], names: tuple[str, ...]) -> None:
    out.print("| | " + " | ".join(names) + " |")
    out.print("|---|" + "---|" * len(names))
    for contender, values in figures.items():
        out.print(f"| {contender} | " + " | ".join(f"{values[n]:.3f}" for n in names) + " |")


def bench_memory(out: Output, options: Options) -> Entries:
    """Memory of prepare and score on one gz file, and on one a fifth as large: it must not grow with it."""
    from pipeline.benchmarks.growth import measure_growth

    rows = (options.rows // 5, options.rows)
    with tempfile.TemporaryDirectory() as work:
        found = measure_growth(Path(work), rows)
    out.print(f"| peak of the largest process, MiB | {rows[0]:,} rows | {rows[1]:,} rows | growth |")
    out.print("|---|---|---|---|")
    results = []
    for small, large in zip(found[::2], found[1::2], strict=True):
        for kind, peak in large.peak_bytes.items():
            before = small.peak_bytes[kind]
            name = f"{small.job}, {kind}"
            out.print(f"| {name} | {before >> 20:,} | {peak >> 20:,} | {peak / before - 1:+.0%} |")
            results.append(
                {
                    "bench": "memory",
                    "contender": f"{name} on {small.rows} rows",
                    "unit": "bytes",
                    "median": peak,
                    "low": peak,
                    "high": peak,
                    "ratio": before / peak,
                }
            )
        out.say(f"{small.job} took {small.seconds:.0f} s and {large.seconds:.0f} s")
    return results


def bench_backlog(out: Output, options: Options) -> Entries:
    """Memory over the course of a long job whose model is slower than all that is before it."""
    from pipeline.benchmarks.backlog import run_slowly

    with tempfile.TemporaryDirectory() as work:
        found = run_slowly(Path(work), options.rows, options.minutes)
    out.print(f"| largest process, MiB, {found.seconds / 60:.0f} minutes | first quarter | last quarter | |")
    out.print("|---|---|---|---|")
    results = []
    for kind, (first, last) in found.peak_bytes.items():
        out.print(f"| {kind} | {first >> 20:,} | {last >> 20:,} | {last / first - 1:+.0%} |")
        results.append(
            {
                "bench": f"backlog, {options.rows} rows in {options.minutes} minutes",
                "contender": kind,
                "unit": "bytes",
                "median": last,
                "low": first,
                "high": last,
                "ratio": first / last,
            }
        )
    out.print(
        f"{found.chunks:,} chunks, at most {found.most_waiting:,} of which waited for the model. Ray spilled"
        f" {found.spilled_bytes >> 20:,} MiB; shared memory, with what other programs took of it, grew by at"
        f" most {found.store_bytes >> 20:,} MiB."
    )
    return results


def bench_encode(out: Output, options: Options) -> Entries:
    """Rows per second of the encoder and of `encode_batch_fast`, one core each, from an empty cache."""
    from pipeline.benchmarks.encode import race, read_texts, synthetic_texts
    from pipeline.benchmarks.rounds import results
    from pipeline.storage.location import locate

    with tempfile.TemporaryDirectory() as work:
        data = {f"{options.rows:,} synthetic reviews": synthetic_texts(Path(work), options.rows)}
    if options.input_file is not None:
        data[Path(options.input_file).name] = read_texts(locate(options.input_file))
    entries = []
    for name, chunks in data.items():
        found = results(f"encode, {name}", "rows/s", race(chunks, options.rounds), ours="rayview")
        entries += _show(out, found)
    return entries


def bench_ingest(out: Output, options: Options) -> Entries:
    """gz to token ids in Parquet, on all cores: ours, Ray Data, Hugging Face datasets, Daft."""
    from pipeline.benchmarks.ingest import model_path
    from pipeline.benchmarks.rounds import results, run_rounds
    from pipeline.storage.location import locate
    from pipeline.synth import write_dump

    with tempfile.TemporaryDirectory() as work:
        dump = f"{work}/dump"
        write_dump(locate(dump), rows=options.rows, shards=_SHARDS, seed=0)

        def call(function: str, **more: object) -> tuple[str, dict[str, Any]]:
            return f"pipeline.benchmarks.ingest:{function}", {"dump": dump, "output": f"{work}/out", **more}

        contenders = {
            "rayview, encoding alone": call("ours", whole=False),
            "rayview, whole prepare (also deduplicates, splits and shuffles)": call("ours", whole=True),
            "Ray Data: read_json, map_batches, write_parquet": call("ray_stock"),
            "Hugging Face datasets": call("hugging_face"),
            "Daft: read_json, a class, write_parquet": (
                "pipeline.benchmarks.peer_daft:ingest",
                {"dump": dump, "output": f"{work}/out", "model": model_path()},
            ),
        }
        seconds = run_rounds(options.chosen(contenders), options.rounds, out.say)
    rates = {name: [options.rows / s for s in values] for name, values in seconds.items()}
    name = f"ingest, {options.rows:,} reviews in {_SHARDS} gz files"
    return _show(out, results(name, "rows/s", rates, ours="rayview, encoding alone"))


def bench_score(out: Output, options: Options) -> Entries:
    """gz to labels and probabilities: ours, what others use, and the bare forward passes."""
    from pipeline.benchmarks.common import MAX_LENGTH
    from pipeline.benchmarks.models import write_model
    from pipeline.benchmarks.rounds import results, run_rounds
    from pipeline.benchmarks.score import count_lines, write_part_of
    from pipeline.storage.location import locate
    from pipeline.synth import write_dump

    entries = []
    device = options.device
    with tempfile.TemporaryDirectory() as work:
        write_model(Path(work, "model"), options.model, MAX_LENGTH)
        dumps = {f"{options.score_rows:,} synthetic reviews": f"{work}/dump"}
        workers = os.cpu_count() or 1
        write_dump(locate(f"{work}/dump"), rows=options.score_rows, shards=_SHARDS, seed=0, workers=workers)
        if options.input_file is not None:
            Path(work, "real").mkdir()
            shutil.copy(options.input_file, f"{work}/real")
            dumps[Path(options.input_file).name] = f"{work}/real"
        for name, dump in dumps.items():
            part = f"{dump}-part"
            rows = {dump: count_lines(dump), part: write_part_of(dump, part, _SCORE_PART[device])}
            calls: Calls = {
                who: (
                    f"pipeline.benchmarks.{function}",
                    {"dump": what, "model": f"{work}/model", "output": f"{work}/out", "device": device},
                )
                for who, (function, what) in {
                    "rayview, whole job": ("score:ours", dump),
                    "its forward passes alone": ("score:forward_alone", dump),
                    "transformers' forward passes alone, same precision": ("score:bare", dump),
                    "PyTorch loop sorted by length, float32": ("score:sorted_float32", part),
                    "transformers pipeline(batch_size=64)": ("score:pipeline_64", part),
                    "Ray Data: read_json, map_batches, float32 padded to 128": ("score:ray_stock", part),
                    "Daft: read_json, a class, float32 padded": ("peer_daft:score", part),
                }.items()
            }
            if device == "cpu":
                target, about = calls["rayview, whole job"]
                calls["the same with one actor, a thread per core"] = target, about | {"num_actors": 1}
            theirs = [who for who, (target, _) in calls.items() if target not in _OURS]
            may_fail = theirs if dump.endswith("/real") else ()
            seconds = run_rounds(options.chosen(calls), options.rounds, out.say, may_fail)
            rates = {who: [rows[calls[who][1]["dump"]] / s for s in took] for who, took in seconds.items()}
            title = f"score, {name}, {options.model} on the {device.upper()}"
            found = results(title, "rows/s", rates, ours="rayview, whole job")
            entries += _show(out, found)
    return entries


def bench_start(out: Output, options: Options) -> Entries:
    """Seconds from the command to the first scored rows of a small file, and those of its parts alone."""
    from pipeline.benchmarks.common import MAX_LENGTH
    from pipeline.benchmarks.models import write_model
    from pipeline.benchmarks.rounds import results, run_rounds
    from pipeline.storage.location import locate
    from pipeline.synth import write_dump

    whole = "jobs.score, from the command to the first part"
    with tempfile.TemporaryDirectory() as work:
        write_model(Path(work, "model"), options.model, MAX_LENGTH)
        write_dump(locate(f"{work}/dump"), rows=_START_ROWS, shards=1, seed=0)
        about = {"model": f"{work}/model"}
        calls: Calls = {
            whole: ("first_rows", {**about, "dump": f"{work}/dump", "output": f"{work}/out"}),
            "Ray alone": ("ray_alone", {}),
            "the model alone, in an actor": ("our_model_alone", about),
            "the model alone, in transformers": ("model_alone", about),
        }
        targets = {who: (f"pipeline.benchmarks.start:{name}", more) for who, (name, more) in calls.items()}
        seconds = run_rounds(targets, options.rounds, out.say)
    found = results(f"start, {_START_ROWS} reviews", "s", seconds, ours=whole)
    out.print(f"| {found[0]['bench']} | s | low – high |")
    out.print("|---|---|---|")
    for e in found:
        out.print(f"| {e['contender']} | {e['median']:.1f} | {e['low']:.1f} – {e['high']:.1f} |")
    return found


def bench_scale(out: Output, options: Options) -> Entries:
    """Scoring with 1 to 16 actors that sleep as long as a GPU would compute."""
    from pipeline.benchmarks.models import write_model
    from pipeline.benchmarks.rounds import results, run_rounds
    from pipeline.benchmarks.scale import ROWS_PER_S
    from pipeline.config import DEFAULT_MODEL
    from pipeline.storage.location import locate
    from pipeline.synth import write_dump

    with tempfile.TemporaryDirectory() as work:
        write_model(Path(work, "model"), DEFAULT_MODEL, 128)
        write_dump(locate(f"{work}/dump"), rows=options.rows, shards=_SHARDS, seed=0)
        about = {"dump": f"{work}/dump", "model": f"{work}/model", "output": f"{work}/out"}
        target = "pipeline.benchmarks.scale:sleeping_actors"
        calls = {_actors(n): (target, {**about, "actors": n}) for n in _SCALE_ACTORS}
        seconds = run_rounds(calls, options.rounds, out.say)
    rates = {name: [options.rows / s for s in values] for name, values in seconds.items()}
    found = results(f"scale, {options.rows:,} reviews", "rows/s", rates, ours=_actors(1))
    for entry, actors in zip(found, _SCALE_ACTORS, strict=True):
        entry["of_linear_frac"] = entry["median"] / (actors * ROWS_PER_S)
        entry["ratio"] = 1 / entry["ratio"]
    out.print(f"| actors that take {ROWS_PER_S:,} rows/s each | rows/s | low – high | of linear |")
    out.print("|---|---|---|---|")
    for e in found:
        spread = f"{e['low']:,.0f} – {e['high']:,.0f}"
        out.print(f"| {e['contender']} | {e['median']:,.0f} | {spread} | {e['of_linear_frac']:.2f} |")
    return found


def _actors(number: int) -> str:
    return f"{number} actor" if number == 1 else f"{number} actors"


def bench_train(out: Output, options: Options) -> Entries:
    """Fine-tuning steps: `jobs.train` and transformers' Trainer."""
    from pipeline.benchmarks.rounds import results, run_rounds
    from pipeline.benchmarks.train import BATCH_ROWS
    from pipeline.storage.location import locate
    from pipeline.synth import write_dump

    rows = options.asked_rows or _TRAIN_ROWS
    steps = max(1, rows // 10 // BATCH_ROWS)
    with tempfile.TemporaryDirectory() as work:
        write_dump(locate(f"{work}/dump"), rows=rows, shards=_SHARDS, seed=0)
        prepare = [sys.executable, "-m", "jobs.prepare", f"{work}/dump", "--output", f"{work}/data"]
        subprocess.run(prepare, check=True, env=os.environ | {"RAY_ADDRESS": "local"}, capture_output=True)

        def call(function: str) -> tuple[str, dict[str, Any]]:
            about = {"data": f"{work}/data", "output": f"{work}/out", "steps": steps}
            return f"pipeline.benchmarks.train:{function}", about

        contenders = {"rayview": call("ours"), "transformers Trainer, float32 padded to 128": call("trainer")}
        seconds = run_rounds(options.chosen(contenders), options.rounds, out.say)
    rates = {name: [steps * BATCH_ROWS / s for s in values] for name, values in seconds.items()}
    return _show(out, results(f"train, {steps} steps of {BATCH_ROWS}", "rows/s", rates, ours="rayview"))


def _show(out: Output, entries: Entries) -> Entries:
    from pipeline.benchmarks.rounds import table

    for line in table(entries):
        out.print(line)
    return entries


HAVE_CONTENDERS = ("ingest", "score", "train")
"""Benchmarks that can leave some out."""

BENCHES: dict[str, Callable[[Output, Options], Entries]] = {
    "quality": bench_quality,
    "memory": bench_memory,
    "backlog": bench_backlog,
    "encode": bench_encode,
    "ingest": bench_ingest,
    "score": bench_score,
    "start": bench_start,
    "scale": bench_scale,
    "train": bench_train,
}
"""By the name on the command line."""
