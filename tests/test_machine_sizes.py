"""The demo's command on machines of other sizes; on two CPUs the other tests run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("cpus", [1, 4])
def test_the_main_job_runs_on(cpus: int, dump: Path, tiny_model: Path, tmp_path: Path) -> None:
    *train, held_out = sorted(dump.iterdir())
    command = [sys.executable, "-m", "jobs.run", *map(str, train), "--score", str(held_out)]
    command += ["--config", "jobs/configs/demo.toml", "--output", str(tmp_path)]
    for setting in (f"cluster.num_cpus={cpus}", f"model.name={tiny_model}", "train.best_by=last"):
        command += ["--set", setting]
    env = os.environ | {"RAY_ADDRESS": "local"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    cores = "1 CPU" if cpus == 1 else f"{cpus} CPUs"
    assert f"1 node, {cores}, 0 GPUs" in done.stderr
    scores = json.loads((tmp_path / "scores" / "manifest.json").read_text())
    assert (
        scores["counts"]["lines"]
        == 400
        == scores["counts"]["rows"] + sum(scores["counts"]["rejected"].values())
    )
    lines = {
        n for part in (tmp_path / "scores").glob("part-*") for n in pq.read_table(part)["line"].to_pylist()
    }
    assert len(lines) == scores["counts"]["rows"]
    trained = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert trained["details"]["best_epoch"] == len(trained["details"]["history"]) - 1
