"""READMEs name only files, links, jobs, options, settings and make targets that exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import pytest
import typer

from pipeline.ingest.parse.formats import FORMATS, Format
from pipeline.ingest.parse.rejects import Reason
from pipeline.settings import setting_names

ROOT = Path(__file__).resolve().parents[1]
READMES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("README.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
MAX_FRONT_PAGE_WORDS = 1300

each_readme = pytest.mark.parametrize("readme", READMES, ids=str)


def text_of(readme: Path) -> str:
    """Content of a README, with continued lines joined."""
    return (ROOT / readme).read_text(encoding="utf-8").replace("\\\n", " ")


def code_of(readme: Path) -> list[str]:
    """Lines of the code blocks, and inline code."""
    text = text_of(readme)
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    blocks = [line for block in fenced for line in block.splitlines()]
    blocks += [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return blocks + re.findall(r"`([^`\n]+)`", text)


def command_of(job: str) -> click.Command:
    """The command line of a job."""
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(f"jobs.{job}").main)
    return typer.main.get_command(app)


def test_expected_readmes_exist() -> None:
    assert {str(path) for path in READMES} >= {
        "README.md",
        "cluster/README.md",
        "jobs/README.md",
        "pipeline/benchmarks/README.md",
        "pipeline/ingest/README.md",
        "tests/README.md",
    }


def test_front_page_is_short() -> None:
    assert len(text_of(Path("README.md")).split()) <= MAX_FRONT_PAGE_WORDS


@each_readme
def test_relative_links_point_to_existing_files(readme: Path) -> None:
    targets = re.findall(r"(?:\]\(|src=\")([^)#\s\"]+)", text_of(readme))
    for target in targets:
        if "://" not in target:
            assert (ROOT / readme.parent / target).exists(), target


@each_readme
def test_named_files_exist(readme: Path) -> None:
    """Checks paths in source folders, and names of source files beside the README or in the root."""
    for code in code_of(readme):
        for path in re.findall(r"(?<![\w/.-])(?:jobs|pipeline|tests|cluster)/[\w/.-]*\w", code):
            assert (ROOT / path).exists(), path
        if re.fullmatch(r"[\w/.-]+\.(?:py|toml|sh|yaml|txt)", code):
            assert (ROOT / readme.parent / code).exists() or (ROOT / code).exists(), code


@each_readme
def test_jobs_and_their_options_exist(readme: Path) -> None:
    for code in code_of(readme):
        for job, arguments in re.findall(r"\bjobs\.([a-z]+)((?: [^#]*)?)", code):
            options = {name for param in command_of(job).params for name in param.opts} | {"--help"}
            for option in re.findall(r"(?<!\S)(--[a-z][\w-]*)", arguments):
                assert option in options, f"jobs.{job} has no {option}"


@each_readme
def test_settings_exist(readme: Path) -> None:
    sections = "|".join(sorted({name.partition(".")[0] for name in setting_names()}))
    for code in code_of(readme):
        for name in re.findall(rf"(?<![\w/.])(?:{sections})\.[a-z]\w+(?![\w(/.])", code):
            assert name in setting_names() or name == "model.safetensors", name


@each_readme
def test_make_targets_exist(readme: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test", "test-slow", "daft", "lock"} <= targets
    for code in code_of(readme):
        assert set(re.findall(r"^make ([a-z-]+)", code)) <= targets


def test_files_of_the_source_tree_exist() -> None:
    tree = text_of(Path("README.md")).partition("## Source tree\n")[2].partition("\n\nRead these")[0]
    parent = ROOT
    for line in tree.strip("\n").splitlines():
        names = re.match(r" *((?:[\w.]+(?:/|\.py) ?)+)", line)
        assert names, line
        if not line.startswith("      "):
            parent = ROOT
        for name in names[1].split():
            assert (parent / name).exists(), name
        if not line.startswith("      "):
            parent = ROOT / names[1].split()[0]


def first_cells(readme: str, heading: str) -> list[str]:
    """Code in the first column of the table whose header begins with `heading`."""
    table = text_of(Path(readme)).partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)`", table, re.MULTILINE)


def test_every_reject_reason_is_explained_once() -> None:
    for heading, is_filter in (("error", False), ("filter", True)):
        reasons = [reason.value for reason in Reason if reason.is_filter == is_filter]
        assert sorted(first_cells("pipeline/ingest/README.md", heading)) == sorted(reasons)


@pytest.mark.parametrize("format_", FORMATS, ids=lambda f: f.name)
def test_every_format_is_listed_with_its_fields(format_: Format) -> None:
    row = next(
        line
        for line in text_of(Path("pipeline/ingest/README.md")).splitlines()
        if line.startswith(f"| `{format_.name}`")
    )
    assert set(re.findall(r"`(\w+)`", row)) == {format_.name, *format_.fields()}
