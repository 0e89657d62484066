"""A killed training resumes to the same weights, bit for bit."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import OutputError
from pipeline.progress import Reporter
from pipeline.rundir.claim import begin
from pipeline.train import stage as train_stage
from tests.commands import ROOT, command
from tests.main_job import Outputs, options

pytestmark = pytest.mark.ray

TIMEOUT_S = 120


def test_a_killed_training_of_two_workers_resumes_to_the_same_weights(
    outputs: Outputs, tiny_model: Path, cluster: Any, tmp_path: Path
) -> None:
    sets = {"train__num_workers": 2, "train__average_decay": 0.9, "cluster__num_cpus": 1}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_stage.train(
        train_stage.plan(str(outputs.data), str(whole), outputs.config.replace(**sets)), cluster, Reporter()
    )

    # How often checkpoints are written changes no weight.
    sets["train__checkpoint_every_steps"] = 10
    train = command("train", "--data", outputs.data, "--output", killed, *options(tiny_model))
    train += [f"--set={name.replace('__', '.')}={value}" for name, value in sets.items()]
    process = subprocess.Popen(train, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + TIMEOUT_S
    while not list(killed.glob("checkpoints/checkpoint_*/state.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (killed / "manifest.json").exists()
    states = [json.loads(f.read_text()) for f in killed.glob("checkpoints/checkpoint_*/state.json")]
    assert states
    assert states[0]["step"] > 0

    job = train_stage.plan(str(outputs.data), str(killed), outputs.config.replace(**sets))
    manifest = train_stage.train(job, cluster, Reporter())
    assert manifest.details.num_workers == 2
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    assert history(whole) == history(killed)


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


def history(model: Path) -> list[dict[str, float]]:
    """The metrics of each epoch, without its duration."""
    entries = json.loads((model / "manifest.json").read_text())["details"]["history"]
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]
