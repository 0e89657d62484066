"""Ratings on a scale of 1 to 10, through all stages from a CSV file to a report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.details import ScoreDetails
from pipeline.evaluate import stage as evaluate_stage
from pipeline.prepare import stage as prepare_stage
from pipeline.progress import Reporter
from pipeline.rundir.manifest import read_manifest
from pipeline.score import stage as score_stage
from pipeline.settings import load_config
from pipeline.storage.location import locate
from pipeline.synth import iter_reviews
from pipeline.train import stage as train_stage
from tests.jobs.test_words import write_untrained
from tests.score.deadly import TokenPredictor

pytestmark = pytest.mark.ray


def write_csv(file: Path, rows: int) -> list[int]:
    """Reviews with ratings from 1 to 10, and some with 0; returns the ratings."""
    texts = [f"{r.text} {n}" for n, r in enumerate(iter_reviews(3, 0, rows)) if r.text]
    ratings = [n % 11 for n in range(len(texts))]
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["body", "mark"], *zip(texts, ratings, strict=True)])
    return ratings


def test_a_scale_from_csv_to_report(tiny_model: Path, cluster: Any, tmp_path: Path) -> None:
    ratings = write_csv(tmp_path / "a.csv", 400)
    columns = ["input.text=body,input.stars=mark"]
    sets = [f"model.name={tiny_model}", "tokenize.max_length=32", "score.num_actors=1", *columns]
    config = load_config(None, [*sets, "labels.scale=1-10,labels.unrated=0"])
    file, quiet = str(tmp_path / "a.csv"), Reporter()
    data, model, scores, report = (str(tmp_path / n) for n in ("d", "m", "s", "r"))
    stars = [1 + 4 * (rating - 1) / 9 for rating in ratings if rating]
    classes = [int(np.floor(s + 0.5)) for s in stars]

    prepared = prepare_stage.prepare(prepare_stage.plan([file], data, config), cluster, quiet)
    assert prepared.details.scale == "1-10"
    assert prepared.details.rejected == {"not_rated": ratings.count(0)}
    for counted in (prepared.details.rows_by_stars, prepared.details.rows_by_label):
        assert {n: sum(split[n] for split in counted.values()) for n in "12345"} == {
            n: classes.count(int(n)) for n in "12345"
        }
    assert "scale 1-10" in (tmp_path / "d" / "card.md").read_text()

    write_untrained(train_stage.plan(data, model, config), tiny_model)
    card = json.loads((tmp_path / "m" / "rayview.json").read_text())
    assert (card["scale"], card["unrated"], card["labels"]) == ("1-10", ["0"], list("12345"))

    # The scale of the model applies without the setting.
    plan = score_stage.plan([file], model, scores, load_config(None, sets))
    score_stage.score(plan, cluster, quiet, predictor=TokenPredictor)
    manifest = read_manifest(locate(scores), ScoreDetails)
    assert manifest.details.scale == "1-10"
    parts = [pq.read_table(tmp_path / "s" / o.path) for o in manifest.outputs if "/" not in o.path]
    scored = {row["line"]: row["stars"] for part in parts for row in part.to_pylist()}
    rated = [scored[n] for n, rating in enumerate(ratings, start=1) if rating]
    assert rated == pytest.approx(stars, abs=1e-6)

    done = evaluate_stage.evaluate(evaluate_stage.plan(scores, report, config), cluster, quiet)
    metrics = done.details.metrics
    assert (metrics["rows"], metrics["rows_without_label"]) == (len(stars), ratings.count(0))
    assert [metrics["per_class"][n]["support"] for n in "12345"] == [classes.count(n) for n in range(1, 6)]
