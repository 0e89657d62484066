"""The demo command with four CPUs; test_main_job_on_s3 uses one CPU, other tests two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.main_job import check_held_out

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_main_job_runs_on_four_cpus(dump: Path, tiny_model: Path, tmp_path: Path) -> None:
    *train, held_out = sorted(dump.iterdir())
    command = [sys.executable, "-m", "jobs.run", *map(str, train), "--score", str(held_out)]
    command += ["--config", "jobs/configs/demo.toml", "--output", str(tmp_path)]
    for setting in ("cluster.num_cpus=4", f"model.name={tiny_model}", "train.best_by=last"):
        command += ["--set", setting]
    env = os.environ | {"RAY_ADDRESS": "local"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "1 node, 4 CPUs, 0 GPUs" in done.stderr
    check_held_out(tmp_path)
