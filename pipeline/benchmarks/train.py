"""Fine-tuning: `jobs.train`, and transformers' Trainer as in its run_classification example.

Both train on the same rows of the same prepared data in batches of 32. Only steps are timed; startup of
processes, loading of the model and validation are excluded.
"""

from __future__ import annotations

import shutil
import time
from typing import Any

from pipeline.progress import Reporter
from pipeline.settings import load_config

MAX_LENGTH = 128
BATCH_ROWS = 32
WARMUP_STEPS = 10
"""Steps before timing starts."""


def ours(data: str, output: str, steps: int) -> float:
    """Seconds for `steps` steps: a run with WARMUP_STEPS more steps, minus a run with only those."""
    return _ours(data, output, WARMUP_STEPS + steps) - _ours(data, output, WARMUP_STEPS)


def _ours(data: str, output: str, steps: int) -> float:
    from pipeline.runtime.connect import connect
    from pipeline.train import stage

    shutil.rmtree(output, ignore_errors=True)
    config = load_config(None, [f"train.max_steps={steps}", f"train.global_batch_rows={BATCH_ROWS}"])
    cluster = connect(config.cluster)
    job = stage.plan(data, output, config)
    start = time.monotonic()
    stage.train(job, cluster, Reporter())
    return time.monotonic() - start


def trainer(data: str, output: str, steps: int) -> float:
    """Seconds for `steps` steps of transformers' Trainer, float32, rows padded to max_length.

    Source: https://github.com/huggingface/transformers, examples/pytorch/text-classification
    """
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from pipeline.config import Config
    from pipeline.model.hub import resolve_model
    from pipeline.train.batches import read_rows

    shutil.rmtree(output, ignore_errors=True)
    rows: list[dict[str, Any]] = []
    for part in read_rows(_parts(data)):
        rows += [_padded(r["input_ids"], r["label"]) for r in part.to_pylist()]
    model = AutoModelForSequenceClassification.from_pretrained(
        resolve_model(Config().model.name), num_labels=5
    )
    times: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.monotonic())

    arguments = TrainingArguments(
        output_dir=output,
        max_steps=WARMUP_STEPS + steps,
        per_device_train_batch_size=BATCH_ROWS,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    Trainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows), callbacks=[Clock()]).train()
    return times[-1] - times[WARMUP_STEPS - 1]


def _parts(data: str) -> list[str]:
    from pipeline.details import PrepareDetails
    from pipeline.rundir.manifest import read_manifest
    from pipeline.storage.location import locate

    manifest = read_manifest(locate(data), PrepareDetails)
    return [locate(data).child(o.path).uri for o in manifest.outputs if o.path.startswith("train/")]


def _padded(ids: list[int], label: int) -> dict[str, Any]:
    padding = [0] * (MAX_LENGTH - len(ids))
    return {
        "input_ids": ids + padding,
        "attention_mask": [1] * len(ids) + padding,
        "labels": label,
    }
