"""Every command that cluster/ shows or runs is one that our jobs and Ray's command line accept."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipeline.config import load_config
from pipeline.errors import SettingError

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"


def shown_commands() -> list[str]:
    """Commands of the README's code blocks, continued lines joined and comments cut off."""
    text = (CLUSTER / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [" ".join(shlex.split(line, comments=True, posix=False)) for line in lines]


def job_commands() -> list[str]:
    """`python -m jobs.…` of the README and of rayjob.yaml."""
    rayjob = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text(encoding="utf-8"))
    found = [re.search(r"python -m jobs\..*", command) for command in shown_commands()]
    return sorted({rayjob["spec"]["entrypoint"], *(match[0] for match in found if match)})


def parse_job(command: str) -> dict[str, Any]:
    """The arguments as the job's own command line reads them."""
    _, _, module, *arguments = shlex.split(command)
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(module).main)
    params: dict[str, Any] = typer.main.get_command(app).make_context(module, arguments).params
    load_config(params["config"], params["sets"] or ())
    return params


@pytest.mark.parametrize("command", job_commands())
def test_the_job_accepts_its_arguments(command: str) -> None:
    params = parse_job(command)
    assert params["inputs"]
    # A submitted job starts in a folder of Ray's: only these mean the same everywhere.
    assert all(re.match(r"/|s3://", path) for path in [*params["inputs"], params["output"]])


def test_a_job_refuses_what_it_does_not_have() -> None:
    good = "python -m jobs.run /a --output /b"
    assert parse_job(good)["output"] == "/b"
    with pytest.raises(Exception, match="No such option"):
        parse_job(f"{good} --outputs /c")
    with pytest.raises(SettingError, match=r"cluster\.storage"):
        parse_job(f"{good} --set cluster.storage=/c")


def test_all_ways_to_run_are_shown() -> None:
    commands = job_commands()
    assert len(commands) >= 4
    assert any("cluster.storage_path=" in command for command in commands)
    assert any("s3://" in command for command in commands)


@pytest.mark.parametrize("command", sorted({c for c in shown_commands() if c.startswith("ray ")}))
def test_ray_accepts_its_arguments(command: str) -> None:
    import click
    from ray.scripts.scripts import cli

    arguments = shlex.split(command)[1:]
    current: click.Command = cli
    while isinstance(current, click.Group):
        name = arguments.pop(0)
        assert name in current.commands, f"{command}: ray has no {name}"
        current = current.commands[name]
    current.make_context("ray", arguments)


def test_files_that_the_readme_names_exist() -> None:
    text = (CLUSTER / "README.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"\b(?:cluster|jobs/configs)/[\w.-]+\w", text))
    assert {"cluster/launcher.yaml", "cluster/rayjob.yaml", "cluster/Dockerfile"} <= paths
    table = re.findall(r"`([\w.-]+)`(?=[^|\n]*\|)", text.partition("## 1.")[0])
    assert len(table) >= 6
    for path in [*(ROOT / p for p in paths), *(CLUSTER / name for name in table)]:
        assert Path(path).exists(), path
