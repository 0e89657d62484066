"""A classifier that jobs.train did not write: one command from a dump to a report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.commands import RunJob, the_line

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def classifier(untrained: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as of the Hub: without rayview.json, with names of labels of its own."""
    folder = tmp_path_factory.mktemp("hub") / "someone-classifier"
    shutil.copytree(untrained, folder)
    (folder / "rayview.json").unlink()
    rename(folder, [f"{n} star{'s' * (n > 1)}" for n in range(1, 6)])
    return folder


def rename(folder: Path, labels: list[str]) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): label for i, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_dump_is_scored_and_evaluated_in_one_command(
    classifier: Path, dump: Path, tmp_path: Path, run_job: RunJob
) -> None:
    out = tmp_path / "out"
    sets = ("--set", "score.precision=float32,score.num_actors=1,input.max_rows=300,tokenize.max_length=40")
    command = ("run", dump, "--no-train", "--model", classifier, "--output", out, *sets)
    planned = run_job(*command, "--dry-run")
    assert planned.code == 0, planned.stderr
    assert (
        f"classifier: {classifier}, labels 1 star, 2 stars, 3 stars, 4 stars, 5 stars, at most 40"
        in planned.stdout
    )
    done = run_job(*command)
    assert done.code == 0, done.stderr
    assert "labels: 1 star = 1, 2 stars = 2, 3 stars = 3, 4 stars = 4, 5 stars = 5" in done.stdout
    assert sorted(p.name for p in out.iterdir()) == ["report", "scores"]
    assert verify(locate(out / "scores")).faults == {}
    parts = [pq.read_table(part) for part in sorted((out / "scores").glob("part-*.parquet"))]
    rows = [row for part in parts for row in part.to_pylist()]
    metrics = json.loads((out / "report" / "metrics.json").read_text())
    assert metrics["labels"] == ["1", "2", "3", "4", "5"]
    assert metrics["rows"] == sum(row["stars"] is not None for row in rows)
    labels = [
        row["label"] == f"{row['stars']:g} star{'s' * (row['stars'] > 1)}" for row in rows if row["stars"]
    ]
    assert metrics["accuracy"] == pytest.approx(np.mean(labels))
    # The same command twice does nothing.
    again = run_job(*command)
    assert (again.code, "score: already finished" in again.stderr) == (0, True)
    run = json.loads((out / "scores" / "run.json").read_text())["settings"]["model"]
    assert run == {"revision": None, "max_length": 40, "text_separator": " ", "unescape_html": True}


def test_generic_names_need_a_map(classifier: Path, dump: Path, tmp_path: Path, run_job: RunJob) -> None:
    folder = tmp_path / "model"
    shutil.copytree(classifier, folder)
    rename(folder, [f"LABEL_{i}" for i in range(5)])
    command = ("run", dump, "--no-train", "--model", folder, "--output", tmp_path / "out")
    refused = run_job(*command)
    assert refused.code == 2
    assert "the class of LABEL_0 is not known; set labels.map='LABEL_0=…,LABEL_1=…," in the_line(refused)
    mapped = ",".join(f"LABEL_{i}={i + 1}" for i in range(5))
    planned = run_job(*command, "--set", f"labels.map={mapped}", "--dry-run")
    assert planned.code == 0, planned.stderr


def test_training_and_scoring_without_it_exclude_each_other(
    dump: Path, tmp_path: Path, run_job: RunJob
) -> None:
    refused = run_job("run", dump, "--no-train", "--output", tmp_path / "out")
    assert "--no-train scores INPUT with --model NAME; name a model" in the_line(refused)
    refused = run_job("run", dump, "--output", tmp_path / "out", "--set", "labels.map=a=positive")
    assert "labels.map is for models that jobs.train did not write" in the_line(refused)
