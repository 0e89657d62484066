"""launcher.yaml: Ray accepts it, and its values agree with each other and the pins."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    import ray.autoscaler

    path = Path(ray.autoscaler.__file__).parent / "ray-schema.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def test_launcher_matches_the_schema_of_ray(launcher: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.validate(launcher, schema)
    misspelled = {**launcher, "idle_timeout_minute": 1}
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minute"):
        jsonschema.validate(misspelled, schema)


def test_ray_up_accepts_the_launcher(launcher: dict[str, Any]) -> None:
    """Runs all checks that precede Ray's first call to the cloud provider."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(launcher))
    validate_config(prepared)
    commands = prepared["worker_setup_commands"]
    assert commands == launcher["setup_commands"]
    # Machines start Ray with its default commands, which pass the address of the head.
    assert any("--autoscaling-config" in command for command in prepared["head_start_ray_commands"])


def test_cluster_size_is_fixed(launcher: dict[str, Any]) -> None:
    # A job plans once, when it starts.
    types = dict(launcher["available_node_types"])
    assert types.pop(launcher["head_node_type"])["resources"] == {"CPU": 0}
    assert [t["min_workers"] for t in types.values()] == [t["max_workers"] for t in types.values()]
    assert sum(t["min_workers"] for t in types.values()) == launcher["max_workers"] >= 1


def test_images_have_the_pinned_ray_and_the_python_of_the_dockerfile(
    launcher: dict[str, Any], ray_version: str, dockerfile: list[list[str]]
) -> None:
    python = dockerfile[0][1].removeprefix("python:").removesuffix("-slim").replace(".", "")
    prefix = f"rayproject/ray:{ray_version}-py{python}"
    docker = launcher["docker"]
    assert (docker["head_image"], docker["worker_image"]) == (f"{prefix}-cpu", f"{prefix}-gpu")


def test_setup_commands_use_mounted_files_that_exist(launcher: dict[str, Any]) -> None:
    mounts = launcher["file_mounts"]
    environment = dict(
        option.removeprefix("--env ").split("=", 1)
        for option in launcher["docker"]["run_options"]
        if option.startswith("--env ")
    )
    assert environment["RAY_AUTH_MODE"] == "token"
    assert mounts[environment["RAY_AUTH_TOKEN_PATH"]] == "~/.ray/auth_token"
    installed = []
    for command in launcher["setup_commands"]:
        target = command.split()[-1]
        (remote,) = [path for path in mounts if target.startswith(f"{path}/")]
        local = ROOT / mounts[remote] / target.removeprefix(f"{remote}/")
        assert local.is_file(), command
        assert ("--no-deps" in command) == local.name.endswith("-nodeps.txt")
        installed.append(local.name)
    assert installed == ["requirements.txt", "requirements-nodeps.txt"]


def test_launcher_and_kuberay_stop_jobs_in_the_same_way(
    launcher: dict[str, Any], rayjob: dict[str, Any]
) -> None:
    for option in launcher["docker"]["run_options"]:
        name, _, value = option.removeprefix("--env ").partition("=")
        if name.startswith("RAY_JOB_STOP"):
            assert value in rayjob["spec"]["runtimeEnvYAML"].partition(name)[2].partition("\n")[0]
    assert "--env RAY_JOB_STOP_SIGNAL=SIGINT" in launcher["docker"]["run_options"]
