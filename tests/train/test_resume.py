"""A killed training resumes to the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import OutputError
from pipeline.progress import Reporter
from pipeline.rundir.claim import begin
from pipeline.train import stage as train_stage
from pipeline.train.stage import TrainJob
from tests.commands import ROOT, command
from tests.main_job import Outputs, options
from tests.train.ranks import history, train_ranks

pytestmark = pytest.mark.ray

TIMEOUT_S = 120

# More than one epoch of 960 rows.
SETS = {"train__num_workers": 2, "train__average_decay": 0.9, "train__max_steps": 70}


def train_undisturbed(job: TrainJob, out: Path) -> Path:
    """Train as two processes without Ray and return the directory of rank 0."""
    out.mkdir()
    train_ranks(train_stage.train_task(job, "float32", threads=1), out, 2)
    return out / "0"


def kill_at_first_checkpoint(command: list[str], output: Path, address: str) -> None:
    """Start a training on a running cluster, and kill its driver once it has written a checkpoint."""
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"RAY_ADDRESS": address})
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not list(output.glob("checkpoints/checkpoint_*/state.json")) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


def test_killed_training_of_two_workers_resumes_to_the_same_weights(
    outputs: Outputs, tiny_model: Path, cluster: Any, tmp_path: Path
) -> None:
    import ray

    killed = tmp_path / "killed"
    # The interval of checkpoints does not affect the weights.
    sets = {**SETS, "train__checkpoint_every_steps": 10}
    train = command("train", "--data", outputs.data, "--output", killed, *options(tiny_model))
    train += [f"--set={name.replace('__', '.')}={value}" for name, value in sets.items()]
    kill_at_first_checkpoint(train, killed, ray.get_runtime_context().gcs_address)
    assert not (killed / "manifest.json").exists()
    states = [json.loads(f.read_text()) for f in killed.glob("checkpoints/checkpoint_*/state.json")]
    assert states
    assert 0 < states[0]["step"] < SETS["train__max_steps"]

    job = train_stage.plan(str(outputs.data), str(killed), outputs.config.replace(**sets))
    manifest = train_stage.train(job, cluster, Reporter())
    assert manifest.details.num_workers == 2
    assert manifest.details.steps == SETS["train__max_steps"]
    job = train_stage.plan(str(outputs.data), str(tmp_path / "whole"), outputs.config.replace(**SETS))
    undisturbed = train_undisturbed(job, tmp_path / "undisturbed")
    expected = torch.load(undisturbed / "weights.pt")["best"]
    weights = load_file(killed / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    epochs = [entry.model_dump(exclude={"seconds"}) for entry in manifest.details.history]
    assert epochs == history(undisturbed)


def test_checkpoints_of_an_earlier_version_are_refused(
    outputs: Outputs, cluster: Any, tmp_path: Path
) -> None:
    job = train_stage.plan(str(outputs.data), str(tmp_path / "old"), outputs.config)
    begin(job.output, job.run)
    checkpoint = tmp_path / "old" / "checkpoints" / "checkpoint_2026-01-01_00-00-00.000000"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text(json.dumps({"epoch": 1, "step": 60, "best_worth": -1.25}))
    with pytest.raises(OutputError) as raised:
        train_stage.train(job, cluster, Reporter())
    assert str(raised.value) == (
        f"{tmp_path}/old: holds an unfinished training with checkpoints of version 1, but this rayview"
        " resumes only version 2; use --overwrite to start over"
    )
