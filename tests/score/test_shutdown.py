"""A scoring job stops within seconds of a signal, and resumes when the command is rerun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.chaos.job import TRACE
from tests.chaos.kills import rows_of, size_of
from tests.commands import ROOT, RunJob
from tests.score.small_job import OPTIONS, SETS

pytestmark = pytest.mark.ray

LONGEST_S = 30


def start(dump: Path, model: str, folder: Path) -> subprocess.Popen[str]:
    job = [str(dump), model, str(folder / "scores"), *SETS, "cluster.num_cpus=2"]
    command = [sys.executable, "-m", "tests.chaos.job", *job]
    env = os.environ | {"RAY_ADDRESS": "local", TRACE: str(folder / "trace")}
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def wait_for_parts(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a chunk is committed and another one is being scored."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        parts = list((folder / "scores").glob("part-*"))
        if parts and size_of(folder / "trace") > 0:
            return
        time.sleep(0.05)
    raise AssertionError("the job ended, or committed no chunk within 120 s")


# Ray has its own handler for SIGTERM. tests/jobs/test_mistakes.py interrupts a job with SIGINT.
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_stopped_job_keeps_its_chunks_and_resumes(
    dump: Path, untrained: str, undisturbed: Path, run_job: RunJob, tmp_path: Path, number: signal.Signals
) -> None:
    job = start(dump, untrained, tmp_path)
    try:
        wait_for_parts(job, tmp_path)
        job.send_signal(number)
        _, said = job.communicate(timeout=LONGEST_S)
    finally:
        job.kill()
        job.wait()
    assert job.returncode == 1
    assert said.splitlines()[-1].startswith("score: interrupted; rerun the same command to resume")
    assert "Traceback" not in said
    scores = tmp_path / "scores"
    assert not (scores / "manifest.json").exists()
    before = {p.name: p.stat().st_mtime_ns for p in scores.glob("part-*")}
    assert not [p for p in scores.rglob("*") if "tmp" in p.name]

    again = run_job("score", dump, "--model", untrained, "--output", scores, *OPTIONS)
    assert again.code == 0, again.stderr
    assert f"{len(before)} chunk" in again.stderr
    after = {p.name: p.stat().st_mtime_ns for p in scores.glob("part-*")}
    assert before.items() < after.items()
    assert verify(locate(scores)).faults == {}
    # The actor of the interrupted job had two threads, that of the undisturbed job one.
    rows = rows_of(scores)
    assert rows.num_rows > 1000
    assert rows.equals(rows_of(undisturbed))
