"""Labels that are words, through all stages from a CSV file to a report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.details import ScoreDetails
from pipeline.evaluate import stage as evaluate_stage
from pipeline.model.card import CARD_FILE
from pipeline.model.load import load_classifier
from pipeline.model.tokenizer import save_tokenizer
from pipeline.prepare import stage as prepare_stage
from pipeline.progress import Reporter
from pipeline.rundir.manifest import read_manifest, to_json
from pipeline.score import stage as score_stage
from pipeline.settings import load_config
from pipeline.storage.location import locate
from pipeline.synth import iter_reviews
from pipeline.train import stage as train_stage
from pipeline.train.stage import TrainJob
from tests.score.deadly import TokenPredictor

pytestmark = pytest.mark.ray


def write_csv(file: Path, rows: int) -> list[list[str]]:
    reviews = [r for r in iter_reviews(3, 0, rows) if r.text]
    table = [[f"{r.text}\n&amp; more", "great" if r.stars == 5 else "other"] for r in reviews]
    table[5][1], table[6][1] = "", "odd"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([["body", "kind"], *table])
    return table


def write_untrained(job: TrainJob, base: Path) -> None:
    """Write the model directory of a training job, with the initial weights."""
    folder = Path(job.output.path)
    save_tokenizer(base, folder)
    load_classifier(base, job.card.labels, seed=0).save_pretrained(folder)
    (folder / CARD_FILE).write_text(job.card.model_dump_json())
    (folder / "run.json").write_bytes(to_json(job.run.model_dump(mode="json")))


def test_words_from_csv_to_report(tiny_model: Path, cluster: Any, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "a.csv", 600)
    sets = [f"model.name={tiny_model}", "tokenize.max_length=32", "score.num_actors=1", "dedup.enabled=false"]
    sets += ["input.text=body,input.stars=kind", "labels.scheme=words,labels.words=other,great"]
    config, quiet = load_config(None, sets), Reporter()
    data, model, split_scores, scores, report = (str(tmp_path / n) for n in ("d", "m", "t", "s", "r"))

    manifest = prepare_stage.prepare(
        prepare_stage.plan([str(tmp_path / "a.csv")], data, config), cluster, quiet
    )
    assert manifest.counts is not None
    assert manifest.counts.lines == len(table)
    assert manifest.counts.rejected == {"missing_label": 1, "unknown_label": 1}
    assert manifest.counts.files[str(tmp_path / "a.csv")].rows == len(table) - 2
    assert manifest.details.formats == {str(tmp_path / "a.csv"): "by columns, CSV"}
    by_label = manifest.details.rows_by_label
    words = [kind for _, kind in table]
    for word in ("other", "great"):
        assert sum(split[word] for split in by_label.values()) == words.count(word)

    write_untrained(train_stage.plan(data, model, config), tiny_model)
    card = json.loads((tmp_path / "m" / "rayview.json").read_text())
    assert (card["labels"], card["scheme"], card["stars_to_label"]) == (["other", "great"], "words", {})
    assert card["unescape_html"] is True

    # Labels and tokens of prepared data do not depend on the model.
    split = score_stage.plan([f"{data}/test"], model, split_scores, config)
    score_stage.score(split, cluster, quiet, predictor=TokenPredictor)
    plan = score_stage.plan([str(tmp_path / "a.csv")], model, scores, config)
    score_stage.score(plan, cluster, quiet, predictor=TokenPredictor)
    parts = [o.path for o in read_manifest(locate(scores), ScoreDetails).outputs if "/" not in o.path]
    rows = [row for part in parts for row in pq.read_table(tmp_path / "s" / part).to_pylist()]
    assert [r["true_label"] for r in rows] == [word or None for word in words]
    assert all(r["prob_other"] + r["prob_great"] == pytest.approx(1, abs=1e-5) for r in rows)
    by_line = {row["line"]: row for row in rows}
    split_parts = list((tmp_path / "t").glob("part-*.parquet"))
    assert split_parts
    for part in split_parts:
        for row in pq.read_table(part).to_pylist():
            same = by_line[row["line"]]
            assert (row["true_label"], row["num_tokens"]) == (same["true_label"], same["num_tokens"])

    done = evaluate_stage.evaluate(evaluate_stage.plan(scores, report, config), cluster, quiet)
    metrics = done.details.metrics
    assert (metrics["rows"], metrics["rows_without_label"]) == (len(table) - 2, 2)
    right = sum(r["label"] == r["true_label"] for r in rows)
    assert metrics["accuracy"] == pytest.approx(right / (len(table) - 2))
    assert metrics["mae"] is None
    assert (tmp_path / "r" / "report.html").exists()
