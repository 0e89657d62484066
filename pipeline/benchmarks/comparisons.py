"""Benchmarks that compare rayview with other software on generated data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.benchmarks.common import MAX_LENGTH
from pipeline.benchmarks.options import Calls, Entries, Options, Output
from pipeline.benchmarks.rounds import results, run_rounds, table
from pipeline.storage.location import locate
from pipeline.synth import write_dump

_TRAIN_ROWS = 16_000

_SCORE_PARTS = {"cpu": 4, "gpu": 64}
"""The slower contenders of the benchmark score get the first 1/N of each file. They are ten times slower;
scoring everything would take an hour with the same result."""

_SHARDS = 8
"""Files of a dump, so that readers that process one file at a time use all cores."""

_OURS = ("pipeline.benchmarks.score:ours", "pipeline.benchmarks.score:forward_only")


def bench_quality(out: Output, options: Options) -> Entries:
    """The model of a run, the majority class and TF-IDF with logistic regression, on the same test rows."""
    from pipeline.evaluate.baseline import compare

    metrics = compare(options.run_dir)
    names = ("accuracy", "weighted_f1", "macro_f1", "mae", "roc_auc_macro")
    _print_metrics(out, metrics, names)
    ours = metrics["rayview"]
    return [
        {
            "bench": "quality",
            "contender": contender,
            "unit": unit,
            "median": values[unit],
            "low": values[unit],
            "high": values[unit],
            # Above 1 is better for rayview, so the ratio of an error is inverted.
            "ratio": values[unit] / ours[unit] if unit == "mae" else ours[unit] / values[unit],
        }
        for contender, values in metrics.items()
        for unit in names
    ]


def _print_metrics(out: Output, metrics: dict[str, dict[str, float]], names: tuple[str, ...]) -> None:
    out.print("| | " + " | ".join(names) + " |")
    out.print("|---|" + "---|" * len(names))
    for contender, values in metrics.items():
        out.print(f"| {contender} | " + " | ".join(f"{values[n]:.3f}" for n in names) + " |")


def bench_encode(out: Output, options: Options) -> Entries:
    """Rows per second of the encoder and of `encode_batch_fast` on one core, starting with an empty cache."""
    from pipeline.benchmarks.encode import race, read_texts, synthetic_texts

    with tempfile.TemporaryDirectory() as work:
        data = {f"{options.rows:,} synthetic reviews": synthetic_texts(Path(work), options.rows)}
    if options.input_file is not None:
        data[Path(options.input_file).name] = read_texts(locate(options.input_file))
    entries = []
    for name, chunks in data.items():
        rates = race(chunks, options.rounds)
        entries += _print_results(out, results(f"encode, {name}", "rows/s", rates, ours="rayview"))
    return entries


def bench_ingest(out: Output, options: Options) -> Entries:
    """gz dumps to token IDs in Parquet on all cores: rayview, Ray Data, Hugging Face datasets, Daft.

    One contender is rayview with the same reviews as CSV.
    """
    from pipeline.benchmarks.ingest import model_path, write_csv

    with tempfile.TemporaryDirectory() as work:
        dump = f"{work}/dump"
        write_dump(locate(dump), rows=options.rows, shards=_SHARDS, seed=0)

        write_csv(dump, f"{work}/csv")

        def call(function: str, **more: object) -> tuple[str, dict[str, Any]]:
            return f"pipeline.benchmarks.ingest:{function}", {"dump": dump, "output": f"{work}/out", **more}

        contenders = {
            "rayview, encoding only": call("ours", whole=False),
            "rayview, encoding only, CSV": call("ours", whole=False, dump=f"{work}/csv"),
            "rayview, whole prepare (also deduplicates, splits and shuffles)": call("ours", whole=True),
            "Ray Data: read_json, map_batches, write_parquet": call("ray_stock"),
            "Hugging Face datasets": call("hugging_face"),
            "Daft: read_json, a class, write_parquet": (
                "pipeline.benchmarks.peer_daft:ingest",
                {"dump": dump, "output": f"{work}/out", "model": model_path()},
            ),
        }
        seconds = run_rounds(options.select(contenders), options.rounds, out.say)
    rates = {name: [options.rows / s for s in values] for name, values in seconds.items()}
    name = f"ingest, {options.rows:,} reviews in {_SHARDS} gz files"
    return _print_results(out, results(name, "rows/s", rates, ours="rayview, encoding only"))


def bench_score(out: Output, options: Options) -> Entries:
    """gz dumps to labels and probabilities: rayview, other software, and the forward passes only."""
    from pipeline.benchmarks.models import write_model

    entries = []
    with tempfile.TemporaryDirectory() as work:
        write_model(Path(work, "model"), options.model, MAX_LENGTH)
        for name, dump in _score_dumps(work, options).items():
            rates = _score_rates(work, dump, out, options)
            title = f"score, {name}, {options.model} on the {options.device.upper()}"
            entries += _print_results(out, results(title, "rows/s", rates, ours="rayview, whole job"))
    return entries


def bench_families(out: Output, options: Options) -> Entries:
    """Encoders that run without padding: the whole job, and forward passes of transformers on its batches."""
    from pipeline.benchmarks.models import FAMILIES, write_family

    entries = []
    with tempfile.TemporaryDirectory() as work:
        write_dump(locate(f"{work}/dump"), rows=options.score_rows, shards=_SHARDS, seed=0)
        for family in FAMILIES:
            write_family(Path(work, family), family)
            arguments = {"dump": f"{work}/dump", "model": f"{work}/{family}", "output": f"{work}/out"}
            arguments |= {"device": options.device}
            calls: Calls = {
                "rayview, whole job": ("pipeline.benchmarks.score:ours", arguments),
                "transformers' forward passes only": ("pipeline.benchmarks.score:bare", arguments),
            }
            seconds = run_rounds(calls, options.rounds, out.say)
            rates = {name: [options.score_rows / s for s in values] for name, values in seconds.items()}
            title = f"families, {family} like MiniLM-L6, {options.score_rows:,} synthetic reviews"
            entries += _print_results(out, results(title, "rows/s", rates, ours="rayview, whole job"))
    return entries


def _score_dumps(work: str, options: Options) -> dict[str, str]:
    """Directories of gz files to score, by description: a synthetic dump, and the input file if given."""
    dumps = {f"{options.score_rows:,} synthetic reviews": f"{work}/dump"}
    workers = os.cpu_count() or 1
    write_dump(locate(f"{work}/dump"), rows=options.score_rows, shards=_SHARDS, seed=0, workers=workers)
    if options.input_file is not None:
        Path(work, "real").mkdir()
        shutil.copy(options.input_file, f"{work}/real")
        dumps[Path(options.input_file).name] = f"{work}/real"
    return dumps


def _score_rates(work: str, dump: str, out: Output, options: Options) -> dict[str, list[float]]:
    """Rows per second of each contender on a dump, one value per round."""
    from pipeline.benchmarks.score import count_lines, write_part_of

    part = f"{dump}-part"
    rows = {dump: count_lines(dump), part: write_part_of(dump, part, _SCORE_PARTS[options.device])}
    calls = _score_calls(work, dump, part, options.device)
    others = [name for name, (target, _) in calls.items() if target not in _OURS]
    # Other software may be unable to read a real dump.
    may_fail = others if dump.endswith("/real") else ()
    seconds = run_rounds(options.select(calls), options.rounds, out.say, may_fail)
    return {name: [rows[calls[name][1]["dump"]] / s for s in values] for name, values in seconds.items()}


def _score_calls(work: str, dump: str, part: str, device: str) -> Calls:
    """Contenders of the benchmark score; the slower ones read only a part of the dump."""

    def call(function: str, data: str, **more: object) -> tuple[str, dict[str, Any]]:
        arguments = {"dump": data, "model": f"{work}/model", "output": f"{work}/out", "device": device}
        return f"pipeline.benchmarks.{function}", {**arguments, **more}

    calls: Calls = {
        "rayview, whole job": call("score:ours", dump),
        "its forward passes only": call("score:forward_only", dump),
        "transformers' forward passes only, same precision": call("score:bare", dump),
        "PyTorch loop sorted by length, float32": call("score:sorted_float32", part),
        "transformers pipeline(batch_size=64)": call("score:pipeline_64", part),
        "Ray Data: read_json, map_batches, float32 padded to 128": call("score:ray_stock", part),
        "Daft: read_json, a class, float32 padded": call("peer_daft:score", part),
    }
    if device == "cpu":
        calls["rayview with one actor, one thread per core"] = call("score:ours", dump, num_actors=1)
    return calls


def bench_train(out: Output, options: Options) -> Entries:
    """Fine-tuning steps of `jobs.train` and of transformers' Trainer."""
    from pipeline.benchmarks.train import BATCH_ROWS

    rows = options.requested_rows or _TRAIN_ROWS
    steps = max(1, rows // 10 // BATCH_ROWS)
    with tempfile.TemporaryDirectory() as work:
        write_dump(locate(f"{work}/dump"), rows=rows, shards=_SHARDS, seed=0)
        prepare = [sys.executable, "-m", "jobs.prepare", f"{work}/dump", "--output", f"{work}/data"]
        subprocess.run(prepare, check=True, env=os.environ | {"RAY_ADDRESS": "local"}, capture_output=True)
        arguments = {"data": f"{work}/data", "output": f"{work}/out", "steps": steps}
        contenders: Calls = {
            "rayview": ("pipeline.benchmarks.train:ours", arguments),
            "transformers Trainer, float32 padded to 128": ("pipeline.benchmarks.train:trainer", arguments),
        }
        seconds = run_rounds(options.select(contenders), options.rounds, out.say)
    rates = {name: [steps * BATCH_ROWS / s for s in values] for name, values in seconds.items()}
    title = f"train, {steps} steps of {BATCH_ROWS}"
    return _print_results(out, results(title, "rows/s", rates, ours="rayview"))


def _print_results(out: Output, entries: Entries) -> Entries:
    for line in table(entries):
        out.print(line)
    return entries
