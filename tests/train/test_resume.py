"""Training that is killed and started again ends with the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config
from pipeline.prepare import stage as prepare_stage
from pipeline.progress import Reporter
from pipeline.train import stage as train_stage

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]


def test_a_killed_training_goes_on_to_the_same_weights(
    dump: Path, tiny_model: Path, cluster: Any, tmp_path: Path
) -> None:
    sets = [f"model.name={tiny_model}", "tokenize.max_length=32", "train.epochs=6"]
    sets += ["train.global_batch_rows=16", "train.checkpoint_every_steps=20"]
    sets += ["train.learning_rate=1e-3", "train.warmup_ratio=0.2"]
    config, quiet = load_config(None, sets), Reporter()
    data, whole, cut = (tmp_path / name for name in ("data", "whole", "cut"))
    prepare_stage.prepare(prepare_stage.plan([str(dump)], str(data), config), cluster, quiet)
    train_stage.train(train_stage.plan(str(data), str(whole), config), cluster, quiet)

    command = [sys.executable, "-m", "jobs.train", "--data", str(data), "--output", str(cut)]
    command += [item for pair in sets for item in ("--set", pair)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(cut.glob("checkpoints/checkpoint_*/state.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cut / "manifest.json").exists()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (whole / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    assert history(whole) == history(cut)


def history(model: Path) -> list[dict[str, float]]:
    """What is told of each epoch, but for the time it took."""
    entries = json.loads((model / "manifest.json").read_text())["details"]["history"]
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]
