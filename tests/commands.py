"""Runs jobs by their command lines, in a subprocess or in the process of the tests."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from jobs import cli
from pipeline.rundir import claim
from pipeline.storage import objectstore

ROOT = Path(__file__).resolve().parents[1]


class Outcome(NamedTuple):
    """Exit code and output of a job."""

    code: int
    stdout: str
    stderr: str


RunJob = Callable[..., Outcome]
"""Runs a job: `run(NAME, *arguments, env={})`."""


def command(job: str, *arguments: object) -> list[str]:
    """A job's command line."""
    return [sys.executable, "-m", f"jobs.{job}", *map(str, arguments)]


def start(job: str, *arguments: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a job in a subprocess."""
    return subprocess.Popen(
        command(job, *arguments),
        cwd=ROOT,
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_in_subprocess(
    job: str, *arguments: object, env: Mapping[str, str] | None = None, timeout_s: float = 240
) -> Outcome:
    """Run a job in a subprocess."""
    with start(job, *arguments, env=env) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
    return Outcome(process.returncode, stdout, stderr)


def run_in_process(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, job: str, *arguments: object
) -> Outcome:
    """Run a job in this process, on the Ray that the process is connected to, if any."""
    monkeypatch.setattr(sys, "argv", command(job, *arguments)[2:])
    main = importlib.import_module(f"jobs.{job}").main
    capfd.readouterr()
    code: object = 0
    # Clients of stores read their credentials from the environment once.
    objectstore.connect.cache_clear()
    try:
        cli.run(main)
    except SystemExit as end:
        code = end.code or 0
    finally:
        objectstore.connect.cache_clear()
        claim.release_outputs()
    assert isinstance(code, int)
    return Outcome(code, *capfd.readouterr())


def the_line(outcome: Outcome, code: int = 2) -> str:
    """The single error line of a job that failed with this exit code."""
    assert outcome.code == code, outcome.stderr
    assert "Traceback" not in outcome.stderr
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, outcome.stderr
    assert outcome.stderr.strip().splitlines()[-1] == lines[0]
    return lines[0]
