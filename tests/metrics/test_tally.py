"""Edge cases of the metrics, and snapped scores; test_against_sklearn.py has the common cases."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline.arrays import BoolArray, FloatArray, IntArray
from pipeline.metrics import tally
from pipeline.metrics import tally as module
from pipeline.metrics.tally import ScoreCounts, Tally, compute_metrics

Rows = tuple[FloatArray, IntArray]


def make(rows: int, classes: int, seed: int, *, spread: float = 1.0) -> Rows:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = spread * (2 * rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels])
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probs.astype(np.float32), labels


def same(a: Tally, b: Tally) -> bool:
    """Whether all counts and scores of two tallies are equal."""
    pairs = list(zip(a.classes, b.classes, strict=True))
    return bool(
        (a.confusion == b.confusion).all()
        and all(x.snapped == y.snapped for x, y in pairs)
        and all(np.array_equal(x.scores, y.scores) for x, y in pairs)
        and all(np.array_equal(x.positives, y.positives) for x, y in pairs)
        and all(np.array_equal(x.negatives, y.negatives) for x, y in pairs)
    )


def merged(parts: list[Tally]) -> Tally:
    return reduce(Tally.merge, parts, Tally.empty(len(parts[0].classes)))


def test_keys_of_the_contract_and_json_serialization() -> None:
    metrics = compute_metrics(Tally.from_probs(*make(50, 3, seed=0)), ["a", "b", "c"], ordered=True)
    confusion_metrics = {
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "macro_precision",
        "macro_recall",
        "weighted_f1",
        "weighted_precision",
        "weighted_recall",
        "mae",
    }
    more = {"rows", "labels", "log_loss", "brier", "roc_auc", "per_class", "confusion", "majority"}
    assert set(metrics) == confusion_metrics | more
    assert set(metrics["majority"]) == confusion_metrics | {"label"}
    assert set(metrics["roc_auc"]) == {"macro", "micro", "per_class", "bound"}
    assert set(metrics["per_class"]["a"]) == {"precision", "recall", "f1", "support"}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_log_loss_equals_scikit_learn(classes: int) -> None:
    probs, labels = make(2000, classes, seed=1)
    # scikit-learn expects rows whose sum is 1 in float64; float32 rows are off by up to 1e-7.
    probs64 = probs.astype(np.float64)
    expected = -np.log(probs64[np.arange(2000), labels]).mean()
    ours = compute_metrics(Tally.from_probs(probs, labels), [str(i) for i in range(classes)], ordered=True)
    assert ours["log_loss"] == pytest.approx(expected, abs=1e-12)
    reference = sk.log_loss(labels, probs64 / probs64.sum(1, keepdims=True), labels=range(classes))
    assert ours["log_loss"] == pytest.approx(reference, abs=1e-6)


def test_log_loss_of_a_true_class_with_probability_0_is_finite() -> None:
    tally = Tally.from_probs(np.array([[1, 0]], np.float32), np.array([1]))
    assert tally.log_loss_sum == pytest.approx(-np.log(float(np.finfo(np.float32).eps)))
    assert tally.brier_sum == 2.0


def test_rows_of_a_single_class_have_no_auc_per_class() -> None:
    probs, _ = make(40, 3, seed=2)
    labels = np.full(40, 1)
    metrics = compute_metrics(Tally.from_probs(probs, labels), ["a", "b", "c"], ordered=True)
    predicted = probs.argmax(1)
    assert metrics["roc_auc"]["per_class"] == {"a": None, "b": None, "c": None}
    assert metrics["roc_auc"]["macro"] is None
    truth = np.eye(3)[labels]
    expected = sk.roc_auc_score(truth.ravel(), probs.ravel())
    assert metrics["roc_auc"]["micro"] == pytest.approx(expected, abs=1e-12)
    assert metrics["balanced_accuracy"] == pytest.approx((predicted == 1).mean(), abs=1e-15)
    assert metrics["majority"]["accuracy"] == 1.0
    assert metrics["majority"]["mae"] == 0.0


def test_class_that_is_never_predicted_has_precision_0() -> None:
    probs = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0]], np.float32)
    labels = np.array([0, 2, 1])
    metrics = compute_metrics(Tally.from_probs(probs, labels), ["a", "b", "c"], ordered=True)
    assert metrics["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    expected = sk.precision_recall_fscore_support(labels, probs.argmax(1), average="macro", zero_division=0)
    assert [metrics["macro_precision"], metrics["macro_recall"], metrics["macro_f1"]] == pytest.approx(
        list(expected[:3]), abs=1e-12
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_fraction_of_correctly_ordered_pairs(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([s / 4 for s, _ in rows], np.float32)
    member = np.array([m for _, m in rows])
    pairs = np.subtract.outer(scores[member], scores[~member])
    auc = ScoreCounts.from_scores(scores, member).roc_auc()
    if not pairs.size:
        assert auc is None
    else:
        assert auc == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)


def test_counts_of_a_billion_rows_do_not_overflow() -> None:
    few = ScoreCounts.from_scores(*make_binary(1000, seed=3))
    many = dataclasses.replace(few, positives=few.positives * 10**7, negatives=few.negatives * 10**7)
    assert many.roc_auc() == pytest.approx(few.roc_auc(), abs=1e-12)
    twice = many.merge(many)
    assert int(twice.positives.sum() + twice.negatives.sum()) == 2 * 10**10


def make_binary(rows: int, seed: int) -> tuple[FloatArray, BoolArray]:
    probs, labels = make(rows, 2, seed)
    return probs[:, 1], labels == 1


def test_grid_points_are_fixed_and_the_grid_is_symmetric() -> None:
    p = np.concatenate([[0.0], np.geomspace(1e-13, 0.5, 20_000)])
    low, high = tally._snap(p), tally._snap(1 - p)
    assert np.array_equal(tally._snap(low), low)
    assert np.array_equal(tally._snap(high), high)
    # Within half a step for all float32 probabilities, and in the same order.
    is_float32 = p >= 2.0**-24
    logit = np.log(p[is_float32] / (1 - p[is_float32]))
    low_logit = np.log(low[is_float32] / (1 - low[is_float32]))
    high_logit = np.log(high[is_float32] / (1 - high[is_float32]))
    assert np.abs(low_logit - logit).max() <= 0.5001 * tally._GRID_STEP
    assert np.abs(high_logit + logit).max() <= 0.5001 * tally._GRID_STEP
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()


def test_number_of_grid_points_is_bounded() -> None:
    logits = np.arange(-87, 88, tally._GRID_STEP / 2)
    points = np.unique(tally._snap(1 / (1 + np.exp(-logits))))
    assert 200_000 < len(points) < 230_000


def test_bound_is_reached_if_all_pairs_snap_together(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.array([0.5, 0.5 + 1e-6], np.float32)
    exact = ScoreCounts.from_scores(scores, np.array([False, True]))
    assert (exact.roc_auc(), exact.auc_bound()) == (1.0, 0.0)
    monkeypatch.setattr(module, "MAX_DISTINCT", 1)
    snapped = ScoreCounts.from_scores(scores, np.array([False, True]))
    assert (snapped.roc_auc(), snapped.auc_bound()) == (0.5, 0.5)


@given(
    sizes=st.lists(st.integers(0, 120), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
    limit=st.integers(1, 300),
    spread=st.sampled_from([1.0, 1e-3]),
    seed=st.integers(0, 1000),
)
def test_any_order_and_grouping_merge_to_the_whole_with_snapping(
    sizes: list[int], order: object, limit: int, spread: float, seed: int
) -> None:
    # The narrow spread covers few grid points, so the number of snapped scores is far below the limit.
    probs, labels = make(sum(sizes), 3, seed, spread=spread)
    edges = np.cumsum([0, *sizes])
    before = tally.MAX_DISTINCT
    tally.MAX_DISTINCT = limit
    try:
        pieces = [Tally.from_probs(probs[a:b], labels[a:b]) for a, b in itertools.pairwise(edges)]
        whole = Tally.from_probs(probs, labels)
        order.shuffle(pieces)  # type: ignore[attr-defined]
        half = len(pieces) // 2
        grouped = Tally.empty(3).merge(merged(pieces[half:]))
        if half:
            grouped = merged(pieces[:half]).merge(grouped)
        assert same(merged(pieces), whole)
        assert same(grouped, whole)
        assert all(c.snapped == (len(np.unique(probs[:, i])) > limit) for i, c in enumerate(whole.classes))
    finally:
        tally.MAX_DISTINCT = before


def test_all_snapped_aucs_of_many_classes_are_within_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probs, labels = make(50_000, 5, seed=4)
    monkeypatch.setattr(module, "MAX_DISTINCT", 5_000)
    tally = merged([Tally.from_probs(probs[i::4], labels[i::4]) for i in range(4)])
    roc_auc = compute_metrics(tally, list("abcde"), ordered=True)["roc_auc"]
    assert all(c.snapped for c in tally.classes)
    assert 0 < roc_auc["bound"] < 1e-4
    for i, name in enumerate("abcde"):
        exact = sk.roc_auc_score(labels == i, probs[:, i])
        assert abs(roc_auc["per_class"][name] - exact) <= tally.classes[i].auc_bound() <= roc_auc["bound"]
    exact = sk.roc_auc_score(np.eye(5)[labels].ravel(), probs.ravel())
    assert abs(roc_auc["micro"] - exact) <= roc_auc["bound"]


def test_tally_can_be_pickled() -> None:
    tally = Tally.from_probs(*make(200, 3, seed=5))
    unpickled = pickle.loads(pickle.dumps(tally))
    assert same(unpickled, tally)
    assert (unpickled.log_loss_sum, unpickled.brier_sum) == (tally.log_loss_sum, tally.brier_sum)


@pytest.mark.parametrize(("a", "b"), [(2, 3), (1, 3)])
def test_tallies_with_different_numbers_of_classes_cannot_be_merged(a: int, b: int) -> None:
    with pytest.raises(ValueError, match=f"cannot merge tallies of {a} and {b} classes"):
        Tally.empty(a).merge(Tally.empty(b))


def test_number_of_names_must_match() -> None:
    with pytest.raises(ValueError, match="2 label names, but 3 classes"):
        compute_metrics(Tally.from_probs(*make(10, 3, seed=6)), ["a", "b"], ordered=True)


@pytest.mark.parametrize(
    ("probs", "labels", "words"),
    [
        ([[0.5, 0.5], [np.nan, 1.0]], [0, 1], r"row 1, class 0: probability nan is not in \[0, 1\]"),
        ([[0.5, 1.5]], [0], "row 0, class 1: probability 1.5"),
        ([[0.5, 0.5]], [0.0], "labels are float64, not integers"),
        ([[0.5, 0.5]], [-1], "labels from -1 to -1, but 2 classes"),
        ([0.5, 0.5], [0, 1], r"\(2,\).*\(2,\)"),
    ],
)
def test_error_messages_show_the_values(probs: object, labels: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tally.from_probs(np.asarray(probs, np.float32), np.asarray(labels))
