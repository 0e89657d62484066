"""Private names of Ray: used in two modules only, and present in the installed version."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.data import ActorPoolStrategy, DataContext, ExecutionResources

from pipeline.runtime.ray_data import BACKPRESSURE, ERRORS, SHUFFLED_READ, STREAMED_READ
from pipeline.runtime.ray_internals import SYSTEM_CONFIG

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = ("pipeline/runtime/ray_internals.py", "pipeline/runtime/ray_data.py")
INTERNAL = re.compile(
    r"""ray\.[\w.]*\b_(?!_)\w+       # ray._private, ray._raylet, ray.data._internal
    | from\s+ray[\w.]*\s+import\s+_
    | ray\.experimental | internal_kv | _system_config
    | DataContext | execution_options | _max_num_blocks | backpressure_guard | pressure_fraction""",
    re.VERBOSE,
)


def internal_names() -> Iterator[tuple[str, str]]:
    """Module and name of each private import in the two modules, and of each attribute of such an import."""
    for path in ALLOWED:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        imported = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and INTERNAL.search(f"{node.module}.{node.names[0].name}"):
                for alias in node.names:
                    yield str(node.module), alias.name
                    imported[alias.name] = f"{node.module}.{alias.name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = imported.get(node.value.id)
                if owner is not None:
                    yield owner, node.attr


def resolve(path: str) -> Any:
    """A module, or an attribute of one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        owner, _, name = path.rpartition(".")
        return getattr(importlib.import_module(owner), name)


def test_no_other_module_uses_ray_internals() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("pipeline", "jobs")
        for path in (ROOT / package).rglob("*.py")
        if INTERNAL.search(path.read_text(encoding="utf-8"))
    }
    assert found == set(ALLOWED)


@pytest.mark.parametrize(("owner", "name"), sorted(set(internal_names())))
def test_installed_ray_has_each_private_name(owner: str, name: str) -> None:
    assert hasattr(resolve(owner), name), f"Ray {ray.__version__} has no {owner}.{name}"


def test_private_names_are_found() -> None:
    names = {name for _, name in internal_names()}
    assert {"GcsClient", "get_node", "_internal_kv_put", "canonicalize_bootstrap_address"} <= names


@pytest.mark.parametrize("field", sorted({**ERRORS, **STREAMED_READ, **SHUFFLED_READ, **BACKPRESSURE}))
def test_installed_ray_has_each_field_of_the_data_context(field: str) -> None:
    assert hasattr(DataContext(), field), f"Ray {ray.__version__} has no DataContext.{field}"


def test_installed_ray_can_limit_the_object_store_of_a_dataset() -> None:
    assert hasattr(DataContext().execution_options, "resource_limits")
    assert ExecutionResources.for_limits(object_store_memory=7).object_store_memory == 7


@pytest.mark.parametrize(
    "name", ["max_tasks_in_flight_per_actor", "max_concurrent_calls_per_actor", "enable_true_multi_threading"]
)
def test_installed_ray_has_each_option_of_actor_pools(name: str) -> None:
    assert name in inspect.signature(ActorPoolStrategy).parameters


@pytest.mark.parametrize("name", sorted(SYSTEM_CONFIG))
def test_raylet_has_each_name_of_the_system_config(name: str) -> None:
    # The raylet ignores unknown names.
    raylet = Path(ray.__file__).parent / "core" / "src" / "ray" / "raylet" / "raylet"
    assert name.encode() in raylet.read_bytes()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ray._private.auto_init_hook", "RAY_ENABLE_AUTO_CONNECT"),
        ("ray.train.v2._internal.constants", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"),
    ],
)
def test_installed_ray_reads_each_environment_variable_that_jobs_set(module: str, name: str) -> None:
    assert name in inspect.getsource(importlib.import_module(module))
