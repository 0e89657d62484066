"""Imports follow the layers, and CPU workers load no heavy libraries."""

from __future__ import annotations

import ast
import json
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("prepare", "train", "score", "evaluate")
LAYERS = (
    ("arrays", "encodings"),
    ("scale",),
    ("config", "errors", "humanize", "overrides", "plotstyle", "progress", "settings"),
    ("storage",),
    ("rundir",),
    ("runtime",),
    ("metrics",),
    ("details",),
    ("model",),
    ("ingest.read",),
    ("ingest.parse",),
    ("ingest.detect.kinds",),
    ("ingest.detect", "ingest.tokenize"),
    ("ingest.clean",),
    ("ingest",),
    ("peek",),
    STAGES,
    ("synth",),
    ("benchmarks",),
)
"""Layers of `pipeline`, lowest first; a layer imports only from itself and lower layers."""
BASE, STAGE, TOP = 0, LAYERS.index(STAGES), len(LAYERS)


def modules() -> dict[str, Path]:
    found = {}
    for package in ("pipeline", "jobs"):
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports_of(file: Path) -> Iterator[str]:
    """This project's modules that a file imports anywhere, including in functions and for types."""
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


@cache
def imports() -> dict[str, list[str]]:
    """The imports of each module of this project."""
    return {name: sorted(set(imports_of(file))) for name, file in MODULES.items()}


def stage_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "pipeline" and parts[1:] and parts[1] in STAGES else None


def layer(module: str) -> int:
    top, _, path = module.partition(".")
    if top == "jobs":
        return TOP
    if not path:
        return BASE
    found = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if path == name or path.startswith(f"{name}.")
    ]
    assert found, f"{module} is in no layer"
    return max(found)[1]


def unit(module: str) -> str:
    """The package or single module in a layer that a module belongs to."""
    path = module.partition(".")[2]
    return max(
        (n for n in LAYERS[layer(module)] if path == n or path.startswith(f"{n}.")), default="", key=len
    )


def test_modules_and_their_imports_are_found() -> None:
    assert {"pipeline.config", "pipeline.ingest.clean.rows", "jobs.run"} <= set(MODULES)
    assert "pipeline.rundir.manifest" in imports()["pipeline.score.stage"]
    assert "pipeline.runtime.pools" in imports()["pipeline.score.stage"]
    assert "pipeline.prepare.stage" in imports()["jobs.prepare"]


def test_every_package_is_in_a_layer_and_states_its_purpose() -> None:
    packages = {path.parent.relative_to(ROOT / "pipeline") for path in (ROOT / "pipeline").rglob("*.py")}
    named = {Path(name.replace(".", "/")) for names in LAYERS for name in names}
    assert packages - {Path()} <= named
    for package in packages:
        doc = ast.get_docstring(ast.parse((ROOT / "pipeline" / package / "__init__.py").read_text("utf-8")))
        assert doc, package
        assert package == Path() or "\n\nAdd here: " in doc, package


def pairs() -> list[tuple[str, str]]:
    """Each module with each of its imports."""
    return [(module, name) for module, names in sorted(imports().items()) for name in names]


def test_modules_import_only_from_lower_layers() -> None:
    assert [(module, name) for module, name in pairs() if layer(name) > layer(module)] == []


def test_packages_of_one_layer_do_not_import_each_other() -> None:
    # All packages use these, for errors and messages; only `settings` reads the other two.
    shared = {"pipeline.errors", "pipeline.humanize"}
    of_settings = shared | {"pipeline.config", "pipeline.overrides"}
    assert [
        (module, name)
        for module, name in pairs()
        if layer(module) < STAGE and layer(name) == layer(module) and unit(name) != unit(module)
        if name not in (of_settings if module == "pipeline.settings" else shared)
    ] == []


def test_stages_never_import_each_other() -> None:
    assert [(m, n) for m, n in pairs() if stage_of(m) and stage_of(n) not in (None, stage_of(m))] == []


def test_pipeline_never_imports_jobs() -> None:
    assert [(m, n) for m, n in pairs() if m.startswith("pipeline") and n.startswith("jobs")] == []


def test_shared_packages_import_no_stage() -> None:
    assert [(m, n) for m, n in pairs() if layer(m) < STAGE and stage_of(n)] == []


def test_imports_have_no_cycle() -> None:
    # Jobs are excluded: they import the session of jobs.cli only for types.
    graph = {m: [n for n in names if n != m] for m, names in imports().items() if m.startswith("pipeline")}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) >= set(graph)


FORKS = """
import json, os, runpy, sys
for module in sys.argv[1:]:
    __import__(module)
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
"""Executes each statement in a fork of an interpreter that has imported no module of this project."""


def run_forked(statements: list[str], loaded: Iterable[str] = ()) -> list[tuple[str, int, set[str]]]:
    """Output, exit code and loaded modules of each statement; `loaded` is imported before the forks."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS, *loaded],
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


ALLOWED = ["numpy", "pyarrow.compute", "pyarrow.fs", "pyarrow.parquet", "psutil", "pydantic", "xxhash"]
"""Libraries that light modules import; importing them once, before the forks, saves seconds."""
HEAVY = {"torch", "transformers", "ray", "pandas", "sklearn", "matplotlib", "isal", "tokenizers"}


LIGHT = [
    "pipeline.config",
    "pipeline.storage.location",
    "pipeline.rundir.manifest",
    "pipeline.runtime.pools",
    "pipeline.model.card",
    "pipeline.model.classifier",
    "pipeline.model.families",
    "pipeline.model.hub",
    "pipeline.model.options",
    "pipeline.model.ragged",
    "pipeline.model.tokenizer",
    "pipeline.ingest.clean.rows",
    "pipeline.ingest.stream",
    "pipeline.ingest.tokenize.encode",
    "pipeline.prepare.stage",
    "pipeline.score.predictor",
    "pipeline.score.stage",
    "pipeline.score.steps",
    "pipeline.train.stage",
]

JOBS = ["peek", "prepare", "train", "score", "evaluate", "run", "verify", "synth"]


def test_light_modules_load_no_heavy_libraries() -> None:
    found = run_forked([f"import {module}" for module in LIGHT], ALLOWED)
    for module, (said, code, loaded) in zip(LIGHT, found, strict=True):
        assert code == 0, said
        assert module in loaded
        assert loaded & HEAVY == set(), module


@pytest.mark.parametrize("package", ["pipeline.model", "pipeline.train"])
def test_torch_is_never_imported_in_a_function(package: str) -> None:
    found = []
    for module in (m for m in MODULES if m.startswith(package)):
        tree = ast.walk(ast.parse(MODULES[module].read_text("utf-8")))
        functions = (n for n in tree if isinstance(n, ast.FunctionDef))
        inner = [n for f in functions for n in ast.walk(f) if isinstance(n, ast.Import)]
        found += [(module, n.lineno) for n in inner if any(alias.name == "torch" for alias in n.names)]
    assert found == []


def test_encoding_loads_neither_torch_nor_transformers() -> None:
    used = "from tests.ingest.tokenize.tokenizer_kinds import tokenizer_json, check, HARD"
    kind = "tokenizer_json('uncased', 'bert', 'wordpiece', 'template', 'words')"
    ((said, code, loaded),) = run_forked([f"{used}; check({kind}, 16, 'right', HARD)"])
    assert code == 0, said
    assert loaded & {"torch", "transformers", "ray"} == set()


def test_encoding_worker_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    from pipeline.config import InputConfig
    from pipeline.ingest.clean.rows import Recipe
    from pipeline.ingest.detect.sources import detect_sources
    from pipeline.score.steps import ChunkWork
    from pipeline.storage.location import locate
    from tests.ingest.tokenize.tokenizer_kinds import tokenizer_json
    from tests.runs import CARD

    (tmp_path / "a.json").write_text('{"reviewText": "good", "overall": 5}\n' * 3)
    (source,) = detect_sources([locate(tmp_path / "a.json")], InputConfig(), need_stars=False)
    tokenizer = tokenizer_json("uncased", "bert", "wordpiece", "template", "words")
    recipe = Recipe(" ", max_length=16, verified_only=False, scheme=None)
    work = ChunkWork(str(tmp_path), {0: source.fmt}, recipe, tokenizer, CARD, "run", "model")
    (tmp_path / "work").write_bytes(pickle.dumps((work.encode, source)))
    statement = f"""
import pickle
from pathlib import Path
encode, source = pickle.loads(Path({str(tmp_path / "work")!r}).read_bytes())
from pipeline.ingest.stream import ReadPlan, read_source
(chunk,) = read_source(source, ReadPlan(1 << 20))
print(encode(chunk).rows.num_rows)
"""
    ((printed, code, loaded),) = run_forked([statement])
    assert (printed, code) == ("3", 0)
    assert loaded & {"torch", "transformers", "ray"} == set()


def test_importing_a_job_loads_no_heavy_libraries() -> None:
    for job, (said, code, loaded) in zip(JOBS, run_forked([f"import jobs.{j}" for j in JOBS]), strict=True):
        assert code == 0, said
        assert f"jobs.{job}" in loaded
        assert loaded & (HEAVY | {"pyarrow", "numpy"}) == set(), job


def test_help_loads_no_heavy_libraries() -> None:
    call = (
        "import sys, runpy; sys.argv = ['{0}', '--help']; runpy.run_module('jobs.{0}', run_name='__main__')"
    )
    found = run_forked([call.format(j) for j in JOBS], ["typer", *ALLOWED])
    for job, (said, code, loaded) in zip(JOBS, found, strict=True):
        assert code == 0, said
        assert {"verify": "SCORES_DIR", "peek": "INPUT"}.get(job, "--output") in said
        assert loaded & HEAVY == set(), job
