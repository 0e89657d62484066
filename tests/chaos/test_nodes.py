"""Scoring on several nodes, some of which are killed and replaced during the job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.chaos.job import CHUNK_S, TRACE
from tests.chaos.kills import ROOT, SETS, rows_of

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def test_job_survives_the_loss_of_nodes(
    chaos_dump: Path, untrained: str, undisturbed: tuple[Path, int], tmp_path: Path
) -> None:
    output = tmp_path / "scores"
    command = [sys.executable, "-m", "tests.chaos.nodes", str(chaos_dump), untrained, str(output), "1", *SETS]
    env = os.environ | {TRACE: str(tmp_path / "trace"), CHUNK_S: "3"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    repeated = len((tmp_path / "trace").read_text().splitlines()) - undisturbed[1]
    print(f"\n{found}, {repeated} of {undisturbed[1]} chunks repeated")  # noqa: T201  Shown by pytest -s.
    assert found["kills"] > 0
    assert rows_of(output).equals(rows_of(undisturbed[0]))
    assert verify(locate(output)).faults == {}
