"""Baselines on the same split: majority class, and TF-IDF with logistic regression (one core, in memory)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as pq

from pipeline.arrays import IntArray
from pipeline.config import Config
from pipeline.details import EvaluateDetails, PrepareDetails
from pipeline.errors import InputError
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.read.limits import ReadLimits
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.metrics.schema import PointMetrics
from pipeline.metrics.tally import Tally, compute_metrics
from pipeline.rundir.manifest import read_manifest
from pipeline.storage.location import Location, locate

_CHUNK_BYTES = 8 << 20
_REGULARIZATION_C = (1.0, 3.0, 10.0)


@dataclass(frozen=True)
class LabeledTexts:
    """N texts and their classes."""

    texts: list[str]
    labels: IntArray
    """(N,) int64."""


def read_split(data: Location, split: str) -> LabeledTexts:
    """Texts and labels of a split of prepared data; texts are read again from the dumps.

    Raises:
        InputError: the dumps are missing or have changed.
    """
    manifest = read_manifest(data, PrepareDetails)
    wanted: dict[str, dict[int, int]] = {}
    for output in manifest.outputs:
        if output.path.startswith(f"{split}/"):
            with data.child(output.path).open_input() as file:
                rows = pq.read_table(file, columns=["source", "line", "label"]).to_pydict()
            for source, line, label in zip(rows["source"], rows["line"], rows["label"], strict=True):
                wanted.setdefault(source, {})[line] = label
    # Cleaned in the same way as by prepare, which selected the lines.
    texts, labels = [], []
    for source, lines in wanted.items():
        for line, text in _texts(source, manifest.config):
            if line in lines:
                texts.append(text)
                labels.append(lines[line])
    if len(texts) != sum(map(len, wanted.values())):
        raise InputError(f"{data.uri}: the dumps have changed since jobs.prepare; rerun jobs.prepare")
    return LabeledTexts(texts, np.array(labels, np.int64))


def _texts(uri: str, config: Config) -> Iterator[tuple[int, str]]:
    """Line number and text of every row of a dump."""
    (source,) = detect_sources([locate(uri)], config.input)
    recipe = replace(Recipe.from_config(config, scheme=None), verified_only=False)
    for chunk in read_source(source, ReadPlan(_CHUNK_BYTES, limits=ReadLimits.of(config.input))):
        assert isinstance(source.fmt, Format)
        rows = keep_lines(chunk, source.fmt, recipe).rows
        yield from zip(rows["line"].to_pylist(), rows["text"].to_pylist(), strict=True)


def tfidf_logistic(train: LabeledTexts, test: LabeledTexts, num_classes: int) -> Tally:
    """Tally of the test split, scored by scikit-learn logistic regression on TF-IDF of words and word pairs.

    The regularization is selected from `_REGULARIZATION_C` by accuracy in three-fold cross-validation.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = Pipeline([("words", words), ("classes", LogisticRegression(max_iter=1000))])
    search = GridSearchCV(model, {"classes__C": _REGULARIZATION_C}, cv=3).fit(train.texts, train.labels)
    probs = np.zeros((len(test.texts), num_classes), np.float32)
    probs[:, search.classes_] = search.predict_proba(test.texts)
    return Tally.from_probs(probs, test.labels)


def compare(run_dir: str) -> dict[str, dict[str, float]]:
    """Metrics of a finished jobs.run on its test split, and of baselines on the same rows.

    Returns:
        For each contender: accuracy, weighted_f1, macro_f1, mae and roc_auc_macro.
    Raises:
        InputError: the run is not finished, or its scores are not those of its test split.
    """
    base = locate(run_dir)
    ours = read_manifest(base.child("report"), EvaluateDetails).details.metrics
    data = base.child("data")
    train, val, test = (read_split(data, split) for split in ("train", "val", "test"))
    support = np.bincount(test.labels, minlength=len(ours["labels"])).tolist()
    if [ours["per_class"][name]["support"] for name in ours["labels"]] != support:
        raise InputError(
            f"{base.uri}: the scores are not those of the test split; rerun jobs.run without --score"
        )
    # The baseline needs no validation rows, so it is trained on them, too.
    train_val = LabeledTexts(train.texts + val.texts, np.concatenate([train.labels, val.labels]))
    tfidf = compute_metrics(tfidf_logistic(train_val, test, len(support)), ours["labels"], ordered=True)
    return {
        "majority": _summary(ours["majority"], auc=0.5),
        "TF-IDF + logistic regression": _summary(tfidf, auc=tfidf["roc_auc"]["macro"]),
        "rayview": _summary(ours, auc=ours["roc_auc"]["macro"]),
    }


def _summary(metrics: PointMetrics, *, auc: float | None) -> dict[str, float]:
    """Selected metrics; NaN if undefined."""
    selected = {
        "accuracy": metrics["accuracy"],
        "weighted_f1": metrics["weighted_f1"],
        "macro_f1": metrics["macro_f1"],
        "mae": metrics["mae"],
        "roc_auc_macro": auc,
    }
    return {name: np.nan if value is None else value for name, value in selected.items()}
