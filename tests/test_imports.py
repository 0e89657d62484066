"""Imports point one way, and what CPU workers load is light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("prepare", "train", "score", "evaluate")
BOTTOM = {"pipeline": 0, "pipeline.errors": 0, "pipeline.wording": 0, "pipeline.config": 1}
BOTTOM |= {"pipeline.objectstore": 1, "pipeline.storage": 2}
BOTTOM |= {"pipeline.manifest": 3, "pipeline.resources": 3}
SHARED, LEDGER, STAGE_PART, STAGE, BENCHMARK, JOB = 4, 5, 6, 7, 8, 9


def modules() -> dict[str, Path]:
    found = {}
    for package in ("pipeline", "jobs"):
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports_of(file: Path) -> Iterator[str]:
    """Our own modules that a file imports anywhere in it: in functions and for types too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in whole]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in ("pipeline", "jobs"))


IMPORTS = {name: sorted(set(imports_of(file))) for name, file in MODULES.items()}


def stage_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "pipeline" and parts[1:] and parts[1] in STAGES else None


def layer(module: str) -> int:
    if module.startswith("jobs"):
        return JOB
    if module.startswith("pipeline.benchmarks"):
        return BENCHMARK
    if stage_of(module):
        return STAGE if module.endswith(".stage") else STAGE_PART
    # Accounts know chunks; all else that stages share stands beside ingest.
    return LEDGER if module == "pipeline.ledger" else BOTTOM.get(module, SHARED)


def test_the_modules_are_found_and_import_each_other() -> None:
    assert {"pipeline.config", "pipeline.ingest.rows", "jobs.run"} <= set(MODULES)
    assert "pipeline.manifest" in IMPORTS["pipeline.score.stage"]
    assert "pipeline.resources" in IMPORTS["pipeline.score.stage"]
    assert "pipeline.prepare.stage" in IMPORTS["jobs.prepare"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    upwards = [name for name in IMPORTS[module] if layer(name) > layer(module)]
    assert upwards == []
    if layer(module) < SHARED:
        beside = [n for n in IMPORTS[module] if layer(n) == layer(module) and layer(n) > 0]
        assert beside == []


@pytest.mark.parametrize("module", sorted(m for m in MODULES if stage_of(m)))
def test_stages_never_import_each_other(module: str) -> None:
    others = [n for n in IMPORTS[module] if stage_of(n) not in (None, stage_of(module))]
    assert others == []


@pytest.mark.parametrize("module", sorted(m for m in MODULES if not m.startswith("jobs")))
def test_the_pipeline_never_imports_jobs(module: str) -> None:
    assert [n for n in IMPORTS[module] if n.startswith("jobs")] == []


@pytest.mark.parametrize("module", sorted(m for m in MODULES if not stage_of(m) and layer(m) < BENCHMARK))
def test_what_stages_share_knows_no_stage(module: str) -> None:
    assert [n for n in IMPORTS[module] if stage_of(n)] == []


def test_there_is_no_circle() -> None:
    # Jobs name the session of jobs.cli for types alone.
    graph = {m: [n for n in names if n != m] for m, names in IMPORTS.items() if m.startswith("pipeline")}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) >= set(graph)


FORKS = """
import json, os, runpy, sys
for statement in json.load(sys.stdin):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            exec(statement, {})
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException as error:
            print(error)
            code = 1
        print(json.dumps([code, sorted(sys.modules)]))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
    print("end of statement")
"""
"""Executes each statement in a fork of an interpreter that has imported nothing of ours."""


def run_forked(statements: list[str]) -> list[tuple[str, int, set[str]]]:
    """What each statement prints, its exit code, and the modules that are loaded after it."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        cwd=ROOT,
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        check=True,
    )
    outputs = done.stdout.split("end of statement\n")[:-1]
    assert len(outputs) == len(statements), done.stderr
    found = []
    for output in outputs:
        *printed, last = output.splitlines()
        code, modules = json.loads(last)
        found.append(("\n".join(printed), code, set(modules)))
    return found


HEAVY = {"torch", "transformers", "ray", "pandas", "sklearn", "matplotlib", "isal", "tokenizers"}


LIGHT = [
    "pipeline.config",
    "pipeline.storage",
    "pipeline.manifest",
    "pipeline.resources",
    "pipeline.model",
    "pipeline.ingest.rows",
    "pipeline.ingest.dataset",
    "pipeline.ingest.encode",
    "pipeline.prepare.stage",
    "pipeline.score.stage",
    "pipeline.train.stage",
]

JOBS = ["prepare", "train", "score", "evaluate", "run", "verify", "synth"]


def test_importing_loads_nothing_heavy() -> None:
    found = run_forked([f"import {module}" for module in LIGHT])
    for module, (said, code, loaded) in zip(LIGHT, found, strict=True):
        assert code == 0, said
        assert module in loaded
        assert loaded & HEAVY == set(), module


def test_encoding_loads_neither_torch_nor_transformers() -> None:
    used = "from tests.ingest.tokenizer_kinds import tokenizer_json, check, HARD"
    kind = "tokenizer_json('uncased', 'bert', 'wordpiece', 'template', 'words')"
    ((said, code, loaded),) = run_forked([f"{used}; check({kind}, 16, 'right', HARD)"])
    assert code == 0, said
    assert loaded & {"torch", "transformers", "ray"} == set()


def test_a_job_is_imported_without_the_libraries_that_it_needs_later() -> None:
    for job, (said, code, loaded) in zip(JOBS, run_forked([f"import jobs.{j}" for j in JOBS]), strict=True):
        assert code == 0, said
        assert f"jobs.{job}" in loaded
        assert loaded & (HEAVY | {"pyarrow", "numpy"}) == set(), job


def test_help_loads_nothing_heavy() -> None:
    call = (
        "import sys, runpy; sys.argv = ['{0}', '--help']; runpy.run_module('jobs.{0}', run_name='__main__')"
    )
    for job, (said, code, loaded) in zip(JOBS, run_forked([call.format(j) for j in JOBS]), strict=True):
        assert code == 0, said
        assert ("SCORES_DIR" if job == "verify" else "--output") in said
        assert loaded & HEAVY == set(), job
