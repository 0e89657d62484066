"""Training that is killed and started again ends with the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]


def command(job: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"jobs.{job}", *map(str, arguments)]


def run(arguments: list[str]) -> None:
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_killed_training_goes_on_to_the_same_weights(dump: Path, tiny_model: Path, tmp_path: Path) -> None:
    sets = [
        f"model.name={tiny_model}",
        "tokenize.max_length=32",
        "train.epochs=3",
        "train.global_batch_rows=16",
    ]
    sets += ["train.checkpoint_every_steps=20"]
    sets += ["train.learning_rate=1e-3", "train.warmup_ratio=0.2"]
    options = [item for pair in sets for item in ("--set", pair)]
    data = tmp_path / "data"
    subprocess.run(
        command("prepare", dump, "--output", data, *options), cwd=ROOT, check=True, capture_output=True
    )
    whole, cut = (
        command("train", "--data", data, "--output", tmp_path / n, *options) for n in ("whole", "cut")
    )
    subprocess.run(whole, cwd=ROOT, check=True, capture_output=True)

    process = subprocess.Popen(cut, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "cut" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint_*/state.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "manifest.json").exists()

    run(cut)
    weights = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("whole", "cut")]
    assert weights[0] == weights[1]
    details = [json.loads((tmp_path / n / "manifest.json").read_text())["details"] for n in ("whole", "cut")]
    assert [h["val_loss"] for h in details[0]["history"]] == [h["val_loss"] for h in details[1]["history"]]
