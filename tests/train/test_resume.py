"""Training that is killed and started again ends with the same weights, bit for bit."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.progress import Reporter
from pipeline.train import stage as train_stage
from tests.commands import ROOT, command
from tests.main_job import Outputs, settings

pytestmark = pytest.mark.ray


def test_a_killed_training_goes_on_to_the_same_weights(
    outputs: Outputs, tiny_model: Path, cluster: Any, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    # How often it is saved changes no weight.
    sets = [*settings(tiny_model), "train.checkpoint_every_steps=10", "cluster.num_cpus=1"]
    train = command("train", "--data", outputs.data, "--output", cut)
    train += [item for pair in sets for item in ("--set", pair)]
    process = subprocess.Popen(train, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(cut.glob("checkpoints/checkpoint_*/state.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (cut / "manifest.json").exists()
    (state, *_) = (json.loads(f.read_text()) for f in cut.glob("checkpoints/checkpoint_*/state.json"))
    assert state["step"] > 0

    config = outputs.config.replace(train__checkpoint_every_steps=10, cluster__num_cpus=1)
    train_stage.train(train_stage.plan(str(outputs.data), str(cut), config), cluster, Reporter())
    assert (outputs.model / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    assert history(outputs.model) == history(cut)


def history(model: Path) -> list[dict[str, float]]:
    """What is told of each epoch, but for the time it took."""
    entries = json.loads((model / "manifest.json").read_text())["details"]["history"]
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]
