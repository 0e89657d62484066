"""What simpler means reach on the same split: TF-IDF and logistic regression, on one core, in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.metrics.tally import Tally, compute_metrics
from pipeline.rundir.manifest import read_manifest
from pipeline.storage.location import Location, locate

_CHUNK_BYTES = 8 << 20
_STRENGTHS = (1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Labelled:
    """Texts and their classes."""

    texts: list[str]
    labels: npt.NDArray[np.int64]


def read_split(data: Location, split: str) -> Labelled:
    """The texts of a split of prepared data, looked up in the dumps by source and line.

    Raises:
        InputError: the dumps are not where they were.
    """
    manifest = read_manifest(data, "prepare")
    wanted: dict[str, dict[int, int]] = {}
    for output in manifest.outputs:
        if output.path.startswith(f"{split}/"):
            with data.child(output.path).open_input() as file:
                rows = pq.read_table(file, columns=["source", "line", "label"]).to_pydict()
            for source, line, label in zip(rows["source"], rows["line"], rows["label"], strict=True):
                wanted.setdefault(source, {})[line] = label
    config = Config.model_validate(manifest.config)
    # The lines were chosen by prepare; their text is made as it was there.
    texts, labels = [], []
    for source, lines in wanted.items():
        for line, text in _texts(source, config):
            if line in lines:
                texts.append(text)
                labels.append(lines[line])
    if len(texts) != sum(map(len, wanted.values())):
        raise InputError(f"{data.uri}: its dumps have changed since it was prepared; prepare it again")
    return Labelled(texts, np.array(labels, np.int64))


def _texts(source: str, config: Config) -> Iterator[tuple[int, str]]:
    (found,) = detect_sources([locate(source)], config.input)
    recipe = replace(Recipe.from_config(config, scheme=None), verified_only=False)
    for chunk in read_source(found, ReadPlan(_CHUNK_BYTES, max_line_bytes=config.input.max_line_bytes)):
        assert isinstance(found.fmt, Format)
        rows = keep_lines(chunk, found.fmt, recipe).rows
        yield from zip(rows["line"].to_pylist(), rows["text"].to_pylist(), strict=True)


def tfidf_logistic(train: Labelled, test: Labelled, num_classes: int) -> Tally:
    """Words and pairs of words by TF-IDF, logistic regression on them; both scikit-learn's.

    The regularization is chosen among `_STRENGTHS` by accuracy, in three-fold cross-validation.

    Returns:
        The tally of the test set.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = Pipeline([("words", words), ("classes", LogisticRegression(max_iter=1000))])
    search = GridSearchCV(model, {"classes__C": _STRENGTHS}, cv=3).fit(train.texts, train.labels)
    probs = np.zeros((len(test.texts), num_classes), np.float32)
    probs[:, search.classes_] = search.predict_proba(test.texts)
    return Tally.of(probs, test.labels)


def compare(run_dir: str) -> dict[str, dict[str, float]]:
    """Figures of a finished jobs.run on its test split beside those of simpler means on the same rows.

    Returns:
        By contender: accuracy, weighted_f1, macro_f1, mae and roc_auc_macro.
    Raises:
        InputError: the run is not finished, or scored something else than its test split.
    """
    base = locate(run_dir)
    ours = read_manifest(base.child("report"), "evaluate").details["metrics"]
    data = base.child("data")
    train, val, test = (read_split(data, split) for split in ("train", "val", "test"))
    support = np.bincount(test.labels, minlength=len(ours["labels"])).tolist()
    if [ours["per_class"][name]["support"] for name in ours["labels"]] != support:
        raise InputError(f"{base.uri}: its scores are not those of its test split; run it without --score")
    # It needs no rows for validation, and is trained on them too.
    both = Labelled(train.texts + val.texts, np.concatenate([train.labels, val.labels]))
    tfidf = compute_metrics(tfidf_logistic(both, test, len(support)), ours["labels"], ordered=True)
    return {
        "majority": _figures(ours["majority"], auc=0.5),
        "TF-IDF + logistic regression": _figures(tfidf, auc=tfidf["roc_auc"]["macro"]),
        "rayview": _figures(ours, auc=ours["roc_auc"]["macro"]),
    }


def _figures(metrics: dict[str, Any], *, auc: float) -> dict[str, float]:
    named = {name: metrics[name] for name in ("accuracy", "weighted_f1", "macro_f1", "mae")}
    return {**named, "roc_auc_macro": auc}
