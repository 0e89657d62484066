"""Jobs and Ray accept every command that cluster/ shows or runs."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipeline.errors import SettingError
from pipeline.settings import load_config

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"


def shown_commands() -> list[str]:
    """Commands in the code blocks of README.md, with continued lines joined and comments removed."""
    text = (CLUSTER / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return [" ".join(shlex.split(line, comments=True, posix=False)) for line in lines]


def job_commands() -> list[str]:
    """`python -m jobs.…` in README.md and rayjob.yaml."""
    rayjob = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text(encoding="utf-8"))
    found = [re.search(r"python -m jobs\..*", command) for command in shown_commands()]
    return sorted({rayjob["spec"]["entrypoint"], *(match[0] for match in found if match)})


def parse_job(command: str) -> dict[str, Any]:
    """Arguments as parsed by the command line of the job."""
    _, _, module, *arguments = shlex.split(command)
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(module).main)
    params: dict[str, Any] = typer.main.get_command(app).make_context(module, arguments).params
    load_config(params["config"], params["sets"] or ())
    return params


@pytest.mark.parametrize("command", job_commands())
def test_job_accepts_its_arguments(command: str) -> None:
    params = parse_job(command)
    assert params["inputs"]
    # Ray chooses the folder that a submitted job starts in, so relative paths would not work.
    assert all(re.match(r"/|s3://", path) for path in [*params["inputs"], params["output"]])


def test_job_refuses_unknown_options_and_settings() -> None:
    good = "python -m jobs.run /a --output /b"
    assert parse_job(good)["output"] == "/b"
    with pytest.raises(Exception, match="No such option"):
        parse_job(f"{good} --outputs /c")
    with pytest.raises(SettingError, match=r"cluster\.storage"):
        parse_job(f"{good} --set cluster.storage=/c")


def test_every_way_to_run_is_shown() -> None:
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
        assert name in current.commands, f"{command}: ray has no command {name}"
        current = current.commands[name]
    current.make_context("ray", arguments)
