"""The steps that all stages share, and their messages."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from jobs.cli import Session
from jobs.run_stage import Stage, broken_files, outcome, print_plan, run_stage
from pipeline.config import Config
from pipeline.details import ScoreDetails
from pipeline.errors import ErrorBudgetError, OutputError
from pipeline.ingest.detect.sources import Source
from pipeline.progress import Reporter
from pipeline.rundir.claim import State, begin, finish
from pipeline.rundir.manifest import Counts, Manifest
from pipeline.runtime.pools import Cluster, Node, Pool
from pipeline.storage.location import Location
from tests.runs import RUN, manifest_of

ONE_NODE = Cluster((Node(1.0, 1.0),))


class Trial(Session):
    """A job on a simulated cluster of one node; records what it prints."""

    def __init__(self) -> None:
        self.printed = io.StringIO()
        self.connections = 0
        super().__init__(Reporter(Console(file=self.printed)), self.printed)

    def connect(self, config: Config) -> Cluster:
        self.connections += 1
        return ONE_NODE

    @property
    def lines(self) -> list[str]:
        return self.printed.getvalue().splitlines()


@pytest.fixture
def job() -> Trial:
    return Trial()


def stage_on(output: Location, config: Config | None = None, **values: Any) -> Stage[ScoreDetails]:
    """A stage that finishes immediately, with 3 lines of which 1 is rejected."""
    plan = SimpleNamespace(output=output, run=RUN, config=config or Config())

    def work(cluster: Cluster, reporter: Reporter, *, overwrite: bool) -> Manifest[ScoreDetails]:
        begin(output, RUN, overwrite=overwrite)
        manifest = manifest_of(RUN, counts=Counts(lines=3, rows=2, rejected={"bad_json": 1}))
        finish(output, RUN, manifest)
        return manifest

    fields = {"pools": lambda _: {"readers": Pool(1, 0.25)}, "summary": lambda m: [f"{m.stage}: done"]}
    return Stage(plan, ScoreDetails, work, **fields | values)


def test_stage_runs_once_and_its_result_is_printed_each_time(job: Trial, out: Location) -> None:
    stage = stage_on(out, result=lambda job, manifest: job.print(f"rows: {manifest.counts.rows}"))
    allowed = stage_on(out, Config().replace(input__max_rejected_frac=0.5), result=stage.result)
    run_stage(job, allowed, dry_run=False, overwrite=False)
    assert (job.connections, job.lines) == (1, ["score: done", "rows: 2"])
    run_stage(job, allowed, dry_run=False, overwrite=False)
    assert (job.connections, job.lines[2:]) == (1, [f"score: already finished → {out.uri}", "rows: 2"])
    run_stage(job, allowed, dry_run=False, overwrite=True)
    assert (job.connections, job.lines[4:]) == (2, ["score: done", "rows: 2"])
    # More lines were rejected than this job allows.
    with pytest.raises(ErrorBudgetError):
        run_stage(job, stage, dry_run=False, overwrite=False)


def test_dry_run_writes_nothing(job: Trial, out: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    config = Config().replace(cluster__num_cpus=3)
    run_stage(job, stage_on(out, config), dry_run=True, overwrite=False)
    assert job.lines[0].startswith("score: would run on 1 node, 3 CPUs, ")
    assert job.lines[-1] == f"  output: {out.uri}"
    assert job.connections == 0
    assert not out.exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_output_directory_with_foreign_files_is_refused(job: Trial, out: Location, dry_run: bool) -> None:
    out.child("thesis.txt").write_bytes(b"x")
    with pytest.raises(OutputError, match="was not written by rayview"):
        run_stage(job, stage_on(out), dry_run=dry_run, overwrite=True)
    assert job.connections == 0


def test_plan_lists_inputs_pools_and_output(job: Trial, out: Location) -> None:
    sources = [Source(0, "/in/a.json", 1, "f")]
    stage = stage_on(out, sources=sources, directories={"model": out.child("model")}, notes=["rows: 5"])
    print_plan(job, stage, ONE_NODE, State.FINISHED)
    assert job.lines == [
        "score: would run on 1 node, 1 CPU, 1 GPU",
        f"  input: /in/a.json (1 byte, {sources[0].format_name})",
        f"  model: {out.uri}/model",
        "  rows: 5",
        "  readers: 1 × 0.25 CPU",
        f"  output: {out.uri} (finished)",
    ]


def test_outcome_counts_lines_and_reject_reasons(out: Location) -> None:
    run = RUN.model_copy(update={"stage": "prepare"})
    many = Counts(lines=2000, rows=1990, rejected={"duplicate": 6, "bad_json": 4})
    kept = "1,990 train, 0 val, 0 test"
    line = outcome(manifest_of(run, counts=many, seconds=67.0), kept, out)
    assert line == f"prepare: 2,000 lines → {kept}, 6 duplicate, 4 bad_json; 1:07 → {out.uri}"
    one = manifest_of(RUN, counts=Counts(lines=1, rows=1))
    assert outcome(one, "1 scored", out) == f"score: 1 line → 1 scored; 0:02 → {out.uri}"


def test_damaged_files_are_named() -> None:
    assert broken_files(["/in/a.gz: damaged, after 1 line"]) == [
        "warning: /in/a.gz: damaged, after 1 line; the lines before that were read"
    ]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [((Node(0.5),), "1 node, 0.5 CPUs, 0 GPUs"), ((Node(1.0), Node(2.0, 2.0)), "2 nodes, 3 CPUs, 2 GPUs")],
)
def test_cluster_is_described_with_counted_nouns(nodes: tuple[Node, ...], words: str) -> None:
    assert str(Cluster(nodes)) == words
