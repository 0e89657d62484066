"""Comparison of the mergeable one-pass metrics with scikit-learn on the same rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline.arrays import FloatArray, IntArray
from pipeline.metrics import tally as module
from pipeline.metrics.tally import ScoreCounts, Tally, compute_metrics

Rows = tuple[FloatArray, IntArray]


def draw(rows: int, classes: int, seed: int, *, decimals: int | None = None, used: int | None = None) -> Rows:
    """Probabilities correlated with the labels; rounding to `decimals` causes ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, used or classes, rows)
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return (probs if decimals is None else probs.round(decimals)).astype(np.float32), labels


def names(classes: int) -> list[str]:
    return [f"c{i}" for i in range(classes)]


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("decimals", [None, 1])
def test_all_metrics_equal_scikit_learn(classes: int, decimals: int | None) -> None:
    probs, labels = draw(3000, classes, seed=classes, decimals=decimals)
    ours = compute_metrics(Tally.from_probs(probs, labels), names(classes), ordered=True)
    predicted = probs.argmax(1)
    close = {"abs": 1e-12}
    assert ours["rows"] == 3000
    assert ours["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted), **close)
    assert ours["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted), **close)
    assert ours["mae"] == pytest.approx(sk.mean_absolute_error(labels, predicted), **close)
    for average in ("macro", "weighted"):
        expected = sk.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
        averages = [ours[f"{average}_{n}"] for n in ("precision", "recall", "f1")]
        assert averages == pytest.approx(list(expected[:3]), **close)
    per_class = sk.precision_recall_fscore_support(labels, predicted, zero_division=0)
    for i, name in enumerate(names(classes)):
        row = ours["per_class"][name]
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(
            [per_class[k][i] for k in range(4)], **close
        )
        auc = sk.roc_auc_score(labels == i, probs[:, i])
        assert ours["roc_auc"]["per_class"][name] == pytest.approx(auc, **close)
    truth = np.eye(classes)[labels]
    assert ours["roc_auc"]["micro"] == pytest.approx(sk.roc_auc_score(truth.ravel(), probs.ravel()), **close)
    macro = np.mean([sk.roc_auc_score(labels == i, probs[:, i]) for i in range(classes)])
    assert ours["roc_auc"]["macro"] == pytest.approx(macro, **close)
    assert ours["roc_auc"]["bound"] == 0.0
    assert ours["confusion"] == sk.confusion_matrix(labels, predicted).tolist()
    loss = sk.log_loss(labels, probs, labels=range(classes))
    if decimals is None:
        assert ours["log_loss"] == pytest.approx(loss, rel=1e-6)
    assert ours["brier"] == pytest.approx(((probs - truth) ** 2).sum(1).mean(), **close)


def test_class_without_rows_has_no_auc_and_is_not_in_the_macro_average() -> None:
    probs, labels = draw(500, 4, seed=1, used=3)
    ours = compute_metrics(Tally.from_probs(probs, labels), names(4), ordered=False)
    assert ours["roc_auc"]["per_class"]["c3"] is None
    defined = [ours["roc_auc"]["per_class"][f"c{i}"] for i in range(3)]
    assert ours["roc_auc"]["macro"] == pytest.approx(np.mean(defined), abs=1e-15)
    predicted = probs.argmax(1)
    assert ours["balanced_accuracy"] == pytest.approx(
        np.mean([(predicted[labels == i] == i).mean() for i in range(3)]), abs=1e-12
    )
    expected = sk.f1_score(labels, predicted, labels=range(4), average="macro", zero_division=0)
    assert ours["macro_f1"] == pytest.approx(expected, abs=1e-12)
    assert ours["mae"] is None


def test_majority_baseline() -> None:
    probs, labels = draw(700, 3, seed=2)
    ours = compute_metrics(Tally.from_probs(probs, labels), names(3), ordered=True)["majority"]
    majority = int(np.bincount(labels).argmax())
    predicted = np.full(700, majority)
    assert ours["label"] == f"c{majority}"
    assert ours["accuracy"] == pytest.approx((labels == majority).mean(), abs=1e-15)
    expected = sk.f1_score(labels, predicted, average="weighted", zero_division=0)
    assert ours["weighted_f1"] == pytest.approx(expected, abs=1e-12)
    assert ours["mae"] == pytest.approx(np.abs(labels - majority).mean(), abs=1e-12)


@given(
    rows=st.integers(1, 200),
    cuts=st.lists(st.integers(0, 200), max_size=5),
    seed=st.integers(0, 1000),
    backwards=st.booleans(),
)
def test_parts_in_any_order_merge_to_the_whole(
    rows: int, cuts: list[int], seed: int, backwards: bool
) -> None:
    probs, labels = draw(rows, 3, seed, decimals=2)
    edges = [0, *sorted(min(c, rows) for c in cuts), rows]
    parts = [Tally.from_probs(probs[a:b], labels[a:b]) for a, b in itertools.pairwise(edges)]
    merged = Tally.empty(3)
    for part in reversed(parts) if backwards else parts:
        merged = merged.merge(part)
    whole = Tally.from_probs(probs, labels)
    assert (merged.confusion == whole.confusion).all()
    for a, b in zip(merged.classes, whole.classes, strict=True):
        assert (a.scores == b.scores).all()
        assert (a.positives == b.positives).all()
        assert (a.negatives == b.negatives).all()
    assert merged.log_loss_sum == pytest.approx(whole.log_loss_sum, rel=1e-12)


def test_auc_of_snapped_scores_is_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = draw(60_000, 2, seed=3)
    exact = sk.roc_auc_score(labels == 1, probs[:, 1])
    monkeypatch.setattr(module, "MAX_DISTINCT", 10_000)
    parts = [ScoreCounts.from_scores(probs[i::7, 1], labels[i::7] == 1) for i in range(7)]
    counts = parts[0]
    for part in parts[1:]:
        counts = counts.merge(part)
    assert counts.snapped
    assert int(counts.positives.sum() + counts.negatives.sum()) == 60_000
    auc, bound = counts.roc_auc(), counts.auc_bound()
    assert auc is not None
    assert 0 < bound < 1e-4
    assert abs(auc - exact) <= bound
    merged = counts.merge(ScoreCounts.from_scores(probs[:0, 1], labels[:0] == 1))
    assert (merged.scores == counts.scores).all()


def test_downsampled_curve_has_the_same_area() -> None:
    probs, labels = draw(20_000, 2, seed=4)
    counts = ScoreCounts.from_scores(probs[:, 1], labels == 1)
    fpr, tpr = counts.roc_curve(max_points=500)
    assert len(fpr) <= 502
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(fpr) >= 0).all()
    assert float(np.trapezoid(tpr, fpr)) == pytest.approx(counts.roc_auc(), abs=1e-3)


@pytest.mark.parametrize(
    ("probs", "labels", "words"),
    [
        (np.full((3, 2), 0.5), [0, 1], r"\(3, 2\).*\(2,\)"),
        (np.full((1, 2), 0.5), [2], "labels from 2 to 2"),
        (np.array([[np.nan, 1.0]]), [0], r"not in \[0, 1\]"),
        (np.array([[1.5, -0.5]]), [0], r"not in \[0, 1\]"),
    ],
)
def test_invalid_rows_are_refused(probs: object, labels: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tally.from_probs(np.asarray(probs, np.float32), np.asarray(labels, np.int64))


def test_no_rows_have_no_metrics() -> None:
    with pytest.raises(ValueError, match="no rows"):
        compute_metrics(Tally.empty(3), names(3), ordered=True)
