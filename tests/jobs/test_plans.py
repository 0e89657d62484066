"""What a job says of its plan and its outcome."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from jobs.cli import Session
from jobs.plans import outcome, print_plan, warn_of_broken
from pipeline.ingest.detect.sources import Source
from pipeline.progress import Reporter
from pipeline.rundir.claim import State
from pipeline.rundir.manifest import Counts
from pipeline.runtime.pools import Cluster, Node, Pool
from pipeline.storage.location import Location
from tests.runs import RUN, manifest_of


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def job(said: io.StringIO) -> Session:
    return Session(Reporter(Console(file=said)), said)


def test_the_outcome_names_lines_and_why_they_were_not_kept(out: Location) -> None:
    run = RUN.model_copy(update={"stage": "prepare"})
    many = Counts(lines=2000, rows=1990, rejected={"duplicate": 6, "bad_json": 4})
    kept = "1,990 train, 0 val, 0 test"
    line = outcome(manifest_of(run, counts=many, seconds=67.0), kept, out)
    assert line == f"prepare: 2,000 lines → {kept}, 6 duplicate, 4 bad_json; 1:07 → {out.uri}"
    one = manifest_of(RUN, counts=Counts(lines=1, rows=1))
    assert outcome(one, "1 scored", out) == f"score: 1 line → 1 scored; 0:02 → {out.uri}"


def test_a_plan_of_one_of_each(job: Session, said: io.StringIO, out: Location) -> None:
    sources = [Source(0, "/in/a.json", 1, "f")]
    cluster = Cluster((Node(1.0, 1.0),))
    print_plan(job, "prepare", sources, cluster, {"readers": Pool(1, 0.25)}, out, State.FRESH)
    assert said.getvalue().splitlines() == [
        "prepare: would run on 1 node, 1 CPU, 1 GPU",
        f"  input: /in/a.json (1 byte, {sources[0].format_name})",
        "  readers: 1 × 0.25 CPU",
        f"  output: {out.uri}",
    ]


def test_files_that_break_off_are_named(job: Session, said: io.StringIO) -> None:
    warn_of_broken(job, manifest_of(RUN, details={"broken": ["/in/a.gz: damaged, after 1 line"]}))
    assert said.getvalue() == "warning: /in/a.gz: damaged, after 1 line; what came before it was read\n"


@pytest.mark.parametrize(
    ("nodes", "told"),
    [((Node(0.5),), "1 node, 0.5 CPUs, 0 GPUs"), ((Node(1.0), Node(2.0, 2.0)), "2 nodes, 3 CPUs, 2 GPUs")],
)
def test_a_cluster_in_words(nodes: tuple[Node, ...], told: str) -> None:
    assert str(Cluster(nodes)) == told
