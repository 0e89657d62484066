"""Where the first seconds of a scoring job go: from the command to the first scored rows, and parts alone.

Each function starts a process and returns the seconds until it has come so far, Python's own start included.
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

_LOOK_S = 0.01


def first_rows(dump: str, model: str, output: str) -> float:
    """`jobs.score`, until the first part is there."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "jobs.score", dump, "--model", model, "--output", output]
    start = time.monotonic()
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stderr=said) as process:
        while not (parts := list(Path(output).glob("part-*"))) and process.poll() is None:
            time.sleep(_LOOK_S)
        took = time.monotonic() - start
        if process.wait() or not parts:
            raise RayviewError(f"jobs.score: exit code {process.returncode}: {_last_line(said)}")
    return took


def ray_alone() -> float:
    """Ray, as `jobs.score` starts it."""
    return _until_ready(
        "from pipeline.config import Config; from pipeline.runtime.connect import connect;"
        " connect(Config().cluster)"
    )


def model_alone(model: str) -> float:
    """The model, as transformers loads it."""
    return _until_ready(
        "import torch; from transformers import AutoModelForSequenceClassification as Classifier;"
        f" Classifier.from_pretrained({model!r}, dtype=torch.bfloat16).eval()"
    )


def our_model_alone(model: str) -> float:
    """The model, as an actor loads it."""
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
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdout is not None
        # Ray may have its say before.
        ready = any(line == "ready\n" for line in process.stdout)
        took = time.monotonic() - start
        if process.wait() or not ready:
            raise RayviewError(f"exit code {process.returncode}: {_last_line(said)}")
    return took


def _last_line(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read().decode(errors="replace").strip().rpartition("\n")[2]
