"""The main job on the small dump; several tests examine its outputs."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from pipeline.config import Config
from pipeline.evaluate import stage as evaluate_stage
from pipeline.prepare import stage as prepare_stage
from pipeline.progress import Reporter
from pipeline.rundir.claim import begin
from pipeline.runtime.pools import Pool
from pipeline.score import stage as score_stage
from pipeline.settings import load_config
from pipeline.train import stage as train_stage
from pipeline.train.checkpoint import write_checkpoint
from pipeline.train.parallel import Workers
from pipeline.train.stage import TrainJob
from pipeline.train.trainer import Trainer
from tests.commands import ROOT

STAGES = {"data": "prepare", "model": "train", "scores": "score", "report": "evaluate"}


@dataclass
class Outputs:
    """The directories that each stage wrote, and the settings."""

    base: Path
    config: Config

    def __getattr__(self, name: str) -> Path:
        return self.base / name


CONFIG = "jobs/configs/demo.toml"


SETTINGS = [
    "tokenize.max_length=32",
    "input.chunk_bytes=65536",
    "train.epochs=2",
    "train.global_batch_rows=16",
    "train.learning_rate=5e-3",
    "train.head_lr_factor=1",
    "train.best_by=last",
    "train.precision=float32",
    "score.precision=float32",
    "score.num_actors=1",
]
"""Settings besides those of `CONFIG`."""

OPTIONS = ["--config", CONFIG, *(item for pair in SETTINGS for item in ("--set", pair))]
"""Arguments of the main job besides its input, output and model."""


def options(model: Path) -> list[str]:
    """Arguments of the main job besides its input and output."""
    return [*OPTIONS, "--set", f"model.name={model}"]


def train_here(job: TrainJob) -> None:
    """Train in this process, without Ray."""
    start, threads = time.monotonic(), torch.get_num_threads()
    begin(job.output, job.run)
    task = train_stage.train_task(job, "float32", threads=1)
    torch.set_num_threads(task.threads)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder)
        trainer = Trainer(
            task,
            Workers(0, 1, torch.device("cpu")),
            save=lambda trainer: write_checkpoint(trainer, checkpoint),
            report_progress=lambda *_: None,
        )
        trainer.run()
        train_stage.write_model(job, task, Pool(1, 1), checkpoint, start)
    torch.set_num_threads(threads)


def run_stages(dump: Path, model: Path, base: Path, cluster: Any) -> Outputs:
    """Prepare, train, score and evaluate, as `jobs.run` does, but train without Ray.

    The jobs of tests/jobs/test_main_job_on_s3.py and tests/train/test_resume.py train on Ray.
    """
    config, quiet = load_config(str(ROOT / CONFIG), [*SETTINGS, f"model.name={model}"]), Reporter()
    data, trained, scores, report = (str(base / n) for n in STAGES)
    prepare_stage.prepare(prepare_stage.plan([str(dump)], data, config), cluster, quiet)
    train_here(train_stage.plan(data, trained, config))
    score_stage.score(score_stage.plan([f"{data}/test"], trained, scores, config), cluster, quiet)
    evaluate_stage.evaluate(evaluate_stage.plan(scores, report, config), cluster, quiet)
    return Outputs(base, config)


def check_held_out(base: Path) -> None:
    """Check the outputs of a main job that scores a shard of 400 lines and keeps the last epoch."""
    scores = json.loads((base / "scores" / "manifest.json").read_text())["counts"]
    assert scores["lines"] == 400 == scores["rows"] + sum(scores["rejected"].values())
    lines = {n for part in (base / "scores").glob("part-*") for n in pq.read_table(part)["line"].to_pylist()}
    assert len(lines) == scores["rows"]
    trained = json.loads((base / "model" / "manifest.json").read_text())["details"]
    assert trained["best_epoch"] == len(trained["history"]) - 1
    metrics = json.loads((base / "report" / "metrics.json").read_text())
    assert metrics["rows"] == scores["rows"] > 0
