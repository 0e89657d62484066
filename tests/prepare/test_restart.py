"""Rerunning a command: after its end, after a kill, and with the output inside the input."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs.failures import explain
from pipeline.config import Config
from pipeline.errors import InputError, OutputError
from pipeline.prepare import stage
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Manifest
from pipeline.settings import load_config
from pipeline.storage.location import locate
from tests.commands import RunJob, run_in_subprocess, the_line

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def config(tiny_model: Path) -> Config:
    return load_config(None, [f"model.name={tiny_model}", "tokenize.max_length=16"])


def files(folder: Path) -> dict[str, int]:
    """Modification time of each file."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


NOWHERE = {"RAY_ADDRESS": "127.0.0.1:9"}
"""For a job that must not use Ray: connecting fails."""


def test_output_inside_the_input_directory_is_not_read(
    cluster: Any, config: Config, dump: Path, tmp_path: Path
) -> None:
    shutil.copytree(dump, tmp_path / "in")
    out = tmp_path / "in" / "out"
    first = stage.prepare(stage.plan([str(tmp_path / "in")], str(out), config), cluster, Reporter())
    assert len(first.inputs) == 3
    before = files(out)
    for text in ("in", "in/**/*.json*", "in/**"):
        plan = stage.plan([f"{tmp_path}/{text}"], str(out), config)
        assert stage.prepare(plan, cluster, Reporter()) == first
    assert files(out) == before
    # As after a kill in the first pass.
    (out / "manifest.json").unlink()
    shutil.copytree(out / "train", out / "encoded")
    plan = stage.plan([str(tmp_path / "in")], str(out), config)
    assert stage.prepare(plan, cluster, Reporter()).outputs == first.outputs


def test_input_inside_the_output_directory_is_refused(config: Config, dump: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(next(iter(sorted(dump.iterdir()))), out / "dump.json.gz")
    for inside in (out, out / "dump.json.gz", out / "*.gz"):
        with pytest.raises(OutputError, match="is inside the output directory; choose another --output"):
            stage.plan([str(dump), str(inside)], str(out), config)


def test_finished_job_reports_so_without_ray(
    cluster: Any, config: Config, dump: Path, tmp_path: Path, run_job: RunJob
) -> None:
    out = tmp_path / "out"
    stage.prepare(stage.plan([str(dump)], str(out), config), cluster, Reporter())
    before = files(out)
    sets = ("--set", f"model.name={config.model.name}", "--set", "tokenize.max_length=16")
    done = run_in_subprocess("prepare", dump, "--output", out, *sets, env=NOWHERE)
    assert (done.code, done.stderr.strip()) == (0, f"prepare: already finished → {out}")
    assert files(out) == before
    shutil.rmtree(out / "train")
    for dry in ((), ("--dry-run",)):
        assert the_line(run_job("prepare", dump, "--output", out, *sets, *dry, env=NOWHERE)) == (
            f"error: {out}: finished, but train/part-00000.parquet is missing; use --overwrite to rebuild it"
        )
    other = (dump, "--output", out, "--dry-run", *sets, "--set", "split.seed=5")
    line = the_line(run_job("prepare", *other, env=NOWHERE))
    assert line.startswith(f"error: {out}: holds another run (split.seed: ")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"contains notes\.txt, which jobs\.prepare did not write"):
        stage.prepare(stage.plan([str(dump)], str(out), config), cluster, Reporter(), overwrite=True)
    assert set(files(out)) == {n for n in before if not n.startswith("train/")} | {"notes.txt"}


def test_input_that_vanishes_is_reported_in_one_line(
    cluster: Any, config: Config, dump: Path, tmp_path: Path
) -> None:
    shutil.copytree(dump, tmp_path / "in")
    plan = stage.plan([str(tmp_path / "in")], str(tmp_path / "out"), config)
    gone = sorted((tmp_path / "in").iterdir())[1]
    gone.unlink()
    with pytest.raises(InputError) as raised:
        stage.prepare(plan, cluster, Reporter())
    line, code = explain(raised.value, "prepare", tmp_path / "log")
    assert code == 2
    assert line.startswith(f"error: {gone}: ")
    assert "\n" not in line


def test_job_whose_output_was_deleted_is_not_finished(
    cluster: Any, config: Config, dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    plan = stage.plan([str(dump)], str(out), config)
    finish = stage._finish

    def late(*arguments: Any) -> Manifest:
        manifest = finish(*arguments)
        locate(out / "train").delete_tree()
        return manifest

    monkeypatch.setattr(stage, "_finish", late)
    with pytest.raises(
        OutputError, match=r"out: train/part-00000\.parquet is missing, although this job wrote"
    ):
        stage.prepare(plan, cluster, Reporter())
    assert not (out / "manifest.json").exists()
