"""Imports point one way, and what CPU workers load is light."""

from __future__ import annotations

import ast
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


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"torch", "transformers", "ray", "pandas", "sklearn", "matplotlib", "isal", "tokenizers"}


@pytest.mark.parametrize(
    "module",
    [
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
    ],
)
def test_importing_loads_nothing_heavy(module: str) -> None:
    loaded = loaded_after(f"import {module}")
    assert module in loaded
    assert loaded & HEAVY == set()


def test_encoding_loads_neither_torch_nor_transformers() -> None:
    used = "from tests.ingest.tokenizer_kinds import tokenizer_json, check, HARD"
    kind = "tokenizer_json('uncased', 'bert', 'wordpiece', 'template', 'words')"
    loaded = loaded_after(f"{used}; check({kind}, 16, 'right', HARD)")
    assert loaded & {"torch", "transformers", "ray"} == set()


@pytest.mark.parametrize("job", ["prepare", "train", "score", "evaluate", "run", "verify", "synth"])
def test_a_job_is_imported_without_the_libraries_that_it_needs_later(job: str) -> None:
    assert loaded_after(f"import jobs.{job}") & (HEAVY | {"pyarrow", "numpy"}) == set()
