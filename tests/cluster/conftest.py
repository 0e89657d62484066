"""Contents of the files in cluster/, read once per session."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """Table `project` of pyproject.toml."""
    section: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return section


@pytest.fixture(scope="session")
def pin_files() -> dict[str, list[Requirement]]:
    """Pins of requirements.txt, requirements-dev.txt and requirements-nodeps.txt."""
    found = {}
    for path in CLUSTER.glob("requirements*.txt"):
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
        found[path.name] = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return found


@pytest.fixture(scope="session")
def pins(pin_files: dict[str, list[Requirement]]) -> list[Requirement]:
    """Pins of the nodes (requirements.txt)."""
    return pin_files["requirements.txt"]


@pytest.fixture(scope="session")
def ray_version(pins: list[Requirement]) -> str:
    """Pinned version of Ray, the same for every Python."""
    (version,) = {str(pin.specifier).removeprefix("==") for pin in pins if pin.name == "ray"}
    return version


@pytest.fixture(scope="session")
def rayjob() -> dict[str, Any]:
    """Content of rayjob.yaml."""
    document: dict[str, Any] = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="session")
def launcher() -> dict[str, Any]:
    """Content of launcher.yaml."""
    document: dict[str, Any] = yaml.safe_load((CLUSTER / "launcher.yaml").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="session")
def dockerfile() -> list[list[str]]:
    """Instructions of the Dockerfile, each split at white space."""
    text = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [line.split() for line in lines.replace("\\\n", " ").splitlines() if line.strip()]
