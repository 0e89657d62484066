"""Rerunning a command: after its end, after a kill, and with the output inside the input."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.failures import explain
from pipeline.config import Config
from pipeline.details import PrepareDetails
from pipeline.errors import InputError, OutputError
from pipeline.prepare import stage
from pipeline.progress import Meter, Reporter
from pipeline.rundir.claim import begin
from pipeline.rundir.manifest import read_manifest
from pipeline.runtime import connect
from pipeline.settings import load_config
from pipeline.storage.location import locate
from tests.commands import RunJob, the_line


@pytest.fixture(scope="module")
def config(tiny_model: Path) -> Config:
    return load_config(None, [f"model.name={tiny_model}", "tokenize.max_length=16"])


@pytest.fixture(scope="module")
def finished(cluster: Any, config: Config, dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dump in `in` and the output of a job in `in/out`; read-only.

    The job follows one that was killed in its first pass, with remains of the job before it.
    """
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(dump, folder / "in")
    out = folder / "in" / "out"
    killed = stage.plan([str(folder / "in")], str(out), config)
    begin(killed.output, killed.run)
    rows = pa.table({"reviewText": ["not an input"], "overall": [5.0]})
    for name in ("encoded/part-00000-000000.parquet", "train/part-00007.parquet"):
        (out / name).parent.mkdir()
        pq.write_table(rows, out / name)
    stage.prepare(stage.plan([str(folder / "in")], str(out), config), cluster, Reporter())
    return folder


def files(folder: Path) -> dict[str, int]:
    """Modification time of each file."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.mark.ray
def test_output_inside_the_input_directory_is_not_read(cluster: Any, config: Config, finished: Path) -> None:
    out = finished / "in" / "out"
    first = read_manifest(locate(out), PrepareDetails)
    assert len(first.inputs) == 3
    assert first.counts is not None
    assert first.counts.lines == 1200
    assert not (out / "encoded").exists()
    before = files(out)
    assert set(before) == {o.path for o in first.outputs} | {"manifest.json", "run.json"}
    for text in ("in", "in/**/*.json*", "in/**"):
        plan = stage.plan([f"{finished}/{text}"], str(out), config)
        assert stage.prepare(plan, cluster, Reporter()) == first
    assert files(out) == before


def test_input_inside_the_output_directory_is_refused(config: Config, dump: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(next(iter(sorted(dump.iterdir()))), out / "dump.json.gz")
    for inside in (out, out / "dump.json.gz", out / "*.gz"):
        with pytest.raises(OutputError, match="is inside the output directory; choose another --output"):
            stage.plan([str(dump), str(inside)], str(out), config)


@pytest.mark.ray
def test_finished_job_reports_so_without_ray(
    config: Config, finished: Path, tmp_path: Path, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, dump = tmp_path / "out", finished / "in"
    shutil.copytree(finished / "in" / "out", out)
    before = files(out)

    def fail(*_: object) -> None:
        raise AssertionError("a finished job connects to Ray")

    monkeypatch.setattr(connect, "connect", fail)
    arguments = (*sorted(dump.glob("*.gz")), "--output", out)
    sets = ("--set", f"model.name={config.model.name}", "--set", "tokenize.max_length=16")
    done = run_job("prepare", *arguments, *sets)
    assert (done.code, done.stderr.strip()) == (0, f"prepare: already finished → {out}")
    assert files(out) == before
    shutil.rmtree(out / "train")
    for dry in ((), ("--dry-run",)):
        assert the_line(run_job("prepare", *arguments, *sets, *dry)) == (
            f"error: {out}: finished, but train/part-00000.parquet is missing; use --overwrite to rebuild it"
        )
    line = the_line(run_job("prepare", *arguments, "--dry-run", *sets, "--set", "split.seed=5"))
    assert line.startswith(f"error: {out}: holds another run (split.seed: ")
    (out / "notes.txt").write_text("mine")
    line = the_line(run_job("prepare", *arguments, *sets, "--overwrite"))
    assert "contains notes.txt, which jobs.prepare did not write" in line
    assert set(files(out)) == {n for n in before if not n.startswith("train/")} | {"notes.txt"}


@pytest.mark.ray
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


class Deleting(Reporter):
    """Reporter that deletes a directory when the second pass is over."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    @contextmanager
    def meter(self, what: str) -> Iterator[Meter]:
        """See Reporter."""
        with super().meter(what) as meter:
            yield meter
        if what == "shuffle":
            shutil.rmtree(self._folder)


@pytest.mark.ray
def test_job_whose_output_was_deleted_is_not_finished(
    cluster: Any, config: Config, dump: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plan = stage.plan([str(dump)], str(out), config)
    with pytest.raises(
        OutputError, match=r"out: train/part-00000\.parquet is missing, although this job wrote"
    ):
        stage.prepare(plan, cluster, Deleting(out / "train"))
    assert not (out / "manifest.json").exists()
