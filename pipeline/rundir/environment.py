"""Versions and platform that affect results."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from pipeline.rundir.record import Record

_PACKAGES = ("ray", "torch", "transformers", "tokenizers", "pyarrow", "numpy", "scikit-learn")


class Environment(Record):
    """Versions and platform that affect results, in addition to settings, inputs and model."""

    python: str
    platform: str
    packages: dict[str, str | None]
    """Version of each package; None if it is not installed."""
    git_commit: str | None


def environment() -> Environment:
    """The environment of this process."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=versions,
        git_commit=_git_commit(),
    )


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent.parent
    try:
        out = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip()
