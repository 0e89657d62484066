"""Classification metrics from mergeable counts: one pass over the rows, in any order, in bounded memory.

Tallies of parts of the rows merge to the tally of all rows. N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from pipeline.arrays import BoolArray, Float64Array, FloatArray, IntArray
from pipeline.metrics.confusion import confusion_matrix, mean_absolute_error, per_class_metrics, point_metrics
from pipeline.metrics.schema import ClassMetrics, Majority, Metrics, PointMetrics, RocAuc

MAX_DISTINCT = 1 << 20
"""Distinct scores of a class that are counted exactly; with more, scores are snapped to the grid below."""

_EPSILON = float(np.finfo(np.float32).eps)
"""The log loss clips probabilities to [_EPSILON, 1 - _EPSILON], as scikit-learn does."""

_GRID_STEP = 2.0**-12
"""Spacing of the grid in logits; scores that snap to the same point differ by at most 0.00006."""


@dataclass(frozen=True)
class ScoreCounts:
    """Numbers of rows of a class, and of other rows, by score.

    Exact up to MAX_DISTINCT distinct scores. With more, each score is snapped to the nearest point of a fixed
    grid in logits, and `auc_bound` is the maximum resulting error of the AUC.
    """

    scores: Float64Array
    """(K,) distinct, ascending."""
    positives: IntArray
    """(K,) number of rows of the class with each score."""
    negatives: IntArray
    """(K,) number of rows of other classes with each score."""
    snapped: bool = False
    """Whether scores were snapped to the grid."""

    @classmethod
    def from_scores(cls, scores: FloatArray, is_member: BoolArray) -> ScoreCounts:
        """Counts of N rows.

        Args:
            scores: (N,) probabilities of the class.
            is_member: (N,) whether each row belongs to the class.
        """
        member = is_member.astype(np.int64)
        return _collect(scores.astype(np.float64), member, 1 - member, snapped=False)

    def merge(self, other: ScoreCounts) -> ScoreCounts:
        """Counts of the rows of both tallies."""
        return _collect(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.positives, other.positives]),
            np.concatenate([self.negatives, other.negatives]),
            snapped=self.snapped or other.snapped,
        )

    def roc_auc(self) -> float | None:
        """Area under the ROC curve: probability that a row of the class scores higher than another row.

        Ties count one half.

        Returns:
            A number in [0, 1]; None if there are no positives or no negatives.
        Source: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
        """
        pairs = float(self.positives.sum()) * float(self.negatives.sum())
        if not pairs:
            return None
        below = np.cumsum(self.negatives) - self.negatives
        wins = self.positives.astype(np.float64) * (below + 0.5 * self.negatives)
        return float(wins.sum() / pairs)

    def auc_bound(self) -> float:
        """Maximum difference between `roc_auc` and the AUC of the scores before snapping; 0 if not snapped.

        Snapping preserves the order of scores that remain distinct, so only pairs of a positive and a
        negative at the same grid point can be wrong, each by one half.
        """
        pairs = float(self.positives.sum()) * float(self.negatives.sum())
        if not self.snapped or not pairs:
            return 0.0
        return float((self.positives.astype(np.float64) * self.negatives).sum() * 0.5 / pairs)

    def roc_curve(self, max_points: int = 2000) -> tuple[FloatArray, FloatArray]:
        """False and true positive rates from the highest to the lowest threshold, downsampled for plotting.

        Returns:
            Two float32 arrays of at most `max_points` + 2 points, both from 0 to 1; empty if there are no
            positives or no negatives.
        Source: Fawcett 2006, doi:10.1016/j.patrec.2005.10.010.
        """
        if not self.positives.sum() or not self.negatives.sum():
            return np.empty(0, np.float32), np.empty(0, np.float32)
        tpr = np.concatenate([[0], np.cumsum(self.positives[::-1])]) / self.positives.sum()
        fpr = np.concatenate([[0], np.cumsum(self.negatives[::-1])]) / self.negatives.sum()
        # Evenly spaced along the curve, so that steep and flat sections keep their shape.
        distance = fpr + tpr
        keep = np.unique(np.searchsorted(distance, np.linspace(0, 2, max_points)).clip(0, len(distance) - 1))
        keep = np.union1d(keep, [0, len(distance) - 1])
        return fpr[keep].astype(np.float32), tpr[keep].astype(np.float32)


def _collect(scores: Float64Array, positives: IntArray, negatives: IntArray, *, snapped: bool) -> ScoreCounts:
    """Sums of the counts of equal scores; snaps the scores if there are too many, or if `snapped` is set."""
    if snapped:
        scores = _snap(scores)
    distinct, index = np.unique(scores, return_inverse=True)
    if len(distinct) > MAX_DISTINCT and not snapped:
        return _collect(scores, positives, negatives, snapped=True)
    return ScoreCounts(distinct, _sum_by_index(index, positives), _sum_by_index(index, negatives), snapped)


def _sum_by_index(index: IntArray, counts: IntArray) -> IntArray:
    # bincount sums in float64, which is exact for integers up to 2**53.
    return np.bincount(index, weights=counts).astype(np.int64)


def _snap(scores: Float64Array) -> Float64Array:
    """Nearest grid points; grid points are unchanged."""
    p = scores.clip(2.0**-40, 1 - 2.0**-40)
    steps = np.round(np.log(p / (1 - p)) / _GRID_STEP)
    return np.asarray(1 / (1 + np.exp(-steps * _GRID_STEP)))


@dataclass(frozen=True)
class Tally:
    """Mergeable sums of N rows from which all metrics are computed."""

    confusion: IntArray
    """(C, C) counts: rows are true classes, columns predicted classes."""
    classes: tuple[ScoreCounts, ...]
    """Score counts of each class against all others."""
    log_loss_sum: float
    """Sum of -ln(probability of the true class), with probabilities clipped to [1.2e-7, 1 - 1.2e-7]."""
    brier_sum: float
    """Sum over rows and classes of the squared difference between probability and one-hot label.

    Source: Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.confusion.sum())

    @classmethod
    def empty(cls, num_classes: int) -> Tally:
        """Tally of no rows."""
        return cls.from_probs(np.empty((0, num_classes), np.float32), np.empty(0, np.int64))

    @classmethod
    def from_probs(cls, probs: FloatArray, labels: IntArray) -> Tally:
        """Tally of N rows; the predicted class is the first one with the highest probability.

        Args:
            probs: (N, C) float32; rows sum to 1.
            labels: (N,) int in [0, C).
        Raises:
            ValueError: the shapes disagree, a label is not an integer or out of range, or a probability is
                not in [0, 1]; the message shows the values.
        """
        _check(probs, labels)
        rows, classes = probs.shape
        confusion = confusion_matrix(labels, probs.argmax(1), classes)
        true_probs = probs[np.arange(rows), labels].astype(np.float64)
        one_hot = np.eye(classes)[labels] if rows else np.zeros((0, classes))
        return cls(
            confusion,
            tuple(ScoreCounts.from_scores(probs[:, c], labels == c) for c in range(classes)),
            float(-np.log(true_probs.clip(_EPSILON, 1 - _EPSILON)).sum()),
            float(((probs - one_hot) ** 2).sum()),
        )

    def merge(self, other: Tally) -> Tally:
        """Tally of the rows of both tallies.

        Raises:
            ValueError: the numbers of classes differ.
        """
        if self.confusion.shape != other.confusion.shape:
            raise ValueError(f"cannot merge tallies of {len(self.classes)} and {len(other.classes)} classes")
        return Tally(
            self.confusion + other.confusion,
            tuple(a.merge(b) for a, b in zip(self.classes, other.classes, strict=True)),
            self.log_loss_sum + other.log_loss_sum,
            self.brier_sum + other.brier_sum,
        )

    def micro(self) -> ScoreCounts:
        """Score counts of all (row, class) pairs, as in micro averaging; positives are the true classes."""
        counts = self.classes[0]
        for other in self.classes[1:]:
            counts = counts.merge(other)
        return counts


def _check(probs: FloatArray, labels: IntArray) -> None:
    if probs.ndim != 2 or labels.shape != (len(probs),):
        raise ValueError(f"probs of shape {probs.shape} do not match labels of shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype}, not integers")
    if len(labels) and not (labels.min() >= 0 and labels.max() < probs.shape[1]):
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, but {probs.shape[1]} classes")
    valid = (probs >= 0) & (probs <= 1)
    if not valid.all():
        row, column = np.argwhere(~valid)[0]
        raise ValueError(f"row {row}, class {column}: probability {probs[row, column]} is not in [0, 1]")


def compute_metrics(tally: Tally, label_names: list[str], *, ordered: bool) -> Metrics:
    """Metrics of a tally, as in metrics.json.

    Args:
        label_names: C names, in the order of the classes.
        ordered: whether the classes are ordinal; otherwise `mae` is None.
    Returns:
        JSON-serializable values, equal to those of scikit-learn with `zero_division=0`. The AUC of a class
        without rows is None; the macro AUC is the mean over the other classes.
    Raises:
        ValueError: the tally is empty, or the number of names is not C.
    """
    if len(label_names) != len(tally.classes):
        raise ValueError(f"{len(label_names)} label names, but {len(tally.classes)} classes")
    if not tally.rows:
        raise ValueError("no rows to evaluate")
    return {
        "rows": tally.rows,
        "labels": list(label_names),
        **_confusion_metrics(tally.confusion, ordered=ordered),
        "log_loss": tally.log_loss_sum / tally.rows,
        "brier": tally.brier_sum / tally.rows,
        "roc_auc": _auc(tally, label_names),
        "per_class": dict(zip(label_names, _class_metrics(tally.confusion), strict=True)),
        "confusion": tally.confusion.tolist(),
        "majority": _majority(tally.confusion, label_names, ordered=ordered),
    }


def _class_metrics(confusion: IntArray) -> Iterator[ClassMetrics]:
    """Metrics of each class, in order."""
    per_class = per_class_metrics(confusion)
    for precision, recall, f1, support in zip(*(column.tolist() for column in per_class), strict=True):
        yield {"precision": precision, "recall": recall, "f1": f1, "support": support}


def _auc(tally: Tally, label_names: list[str]) -> RocAuc:
    micro = tally.micro()
    per_class = {name: counts.roc_auc() for name, counts in zip(label_names, tally.classes, strict=True)}
    defined = [auc for auc in per_class.values() if auc is not None]
    return {
        "macro": float(np.mean(defined)) if defined else None,
        "micro": micro.roc_auc(),
        "per_class": per_class,
        "bound": max(counts.auc_bound() for counts in (micro, *tally.classes)),
    }


def _majority(confusion: IntArray, label_names: list[str], *, ordered: bool) -> Majority:
    """Metrics of the baseline that always predicts the most frequent class."""
    support = confusion.sum(1)
    majority = int(support.argmax())
    baseline = np.zeros_like(confusion)
    baseline[:, majority] = support
    return {"label": label_names[majority], **_confusion_metrics(baseline, ordered=ordered)}


def _confusion_metrics(confusion: IntArray, *, ordered: bool) -> PointMetrics:
    mae = mean_absolute_error(confusion) if ordered else None
    return cast(PointMetrics, {**point_metrics(confusion), "mae": mae})
