"""Start-up time of a scoring job, from the command to the first scored rows, and of its steps.

Each function starts a process and returns the seconds until it is ready, including the start of Python.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from pipeline.errors import RayviewError

_POLL_INTERVAL_S = 0.01


def first_rows(dump: str, model: str, output: str) -> float:
    """Seconds until `jobs.score` has written the first part."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "jobs.score", dump, "--model", model, "--output", output]
    start = time.monotonic()
    with tempfile.TemporaryFile() as stderr, subprocess.Popen(command, stderr=stderr) as process:
        while not (parts := list(Path(output).glob("part-*"))) and process.poll() is None:
            time.sleep(_POLL_INTERVAL_S)
        seconds = time.monotonic() - start
        if process.wait() or not parts:
            raise RayviewError(f"jobs.score: exit code {process.returncode}: {_last_line(stderr)}")
    return seconds


def ray_only() -> float:
    """Seconds to start Ray as `jobs.score` does."""
    return _until_ready(
        "from pipeline.config import Config; from pipeline.runtime.connect import connect;"
        " connect(Config().cluster)"
    )


def transformers_model_only(model: str) -> float:
    """Seconds to load the model with transformers."""
    return _until_ready(
        "import torch; from transformers import AutoModelForSequenceClassification as Classifier;"
        f" Classifier.from_pretrained({model!r}, dtype=torch.bfloat16).eval()"
    )


def our_model_only(model: str) -> float:
    """Seconds to load the model as a scoring actor does."""
    return _until_ready(
        "from pipeline.model.card import fingerprint_model; from pipeline.storage.location import locate;"
        " from pipeline.model.forward import read_forward; from pipeline.model.options import ForwardOptions;"
        f" model = {model!r}; fingerprint = fingerprint_model(locate(model));"
        " read_forward(ForwardOptions(model, fingerprint, 128, 'bfloat16'))"
    )


def _until_ready(code: str) -> float:
    start = time.monotonic()
    command = [sys.executable, "-c", f"{code}; print('ready', flush=True)"]
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        # Ray may print other lines first.
        ready = any(line == "ready\n" for line in process.stdout)
        seconds = time.monotonic() - start
        if process.wait() or not ready:
            raise RayviewError(f"exit code {process.returncode}: {_last_line(stderr)}")
    return seconds


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip().rpartition("\n")[2]
