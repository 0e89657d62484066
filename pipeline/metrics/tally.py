"""Classification metrics from mergeable counts: one pass over the rows, in any order, in bounded memory.

Rows are tallied in parts of any size; tallies merge to the tally of all rows. N rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import FloatArray, IntArray
from pipeline.metrics.confusion import confusion_matrix, mean_absolute_error, per_class_metrics, point_metrics

MAX_DISTINCT = 1 << 20
"""Distinct scores kept of one class; with more, scores are snapped to the grid below."""

_EPSILON = float(np.finfo(np.float32).eps)
"""Probabilities count as at least this, and at most 1 less this, in the log loss; as in scikit-learn."""

_GRID_STEP = 2.0**-12
"""Spacing of the grid, in logits: two scores that fall together differ by at most 0.00006."""


@dataclass(frozen=True)
class ScoreCounts:
    """How often each score was given to members of a class, and to the others.

    Exact as long as there are at most MAX_DISTINCT distinct scores; from then on each score counts as
    the nearest point of a fixed grid in logits, and `auc_bound` says how much that can matter.
    """

    scores: npt.NDArray[np.float64]
    """(K,) rising, distinct."""
    positives: IntArray
    """(K,) rows of the class with that score."""
    negatives: IntArray
    """(K,) rows of other classes with that score."""
    snapped: bool = False

    @classmethod
    def of(cls, scores: FloatArray, is_member: npt.NDArray[np.bool_]) -> ScoreCounts:
        """Count (N,) scores of rows that are members of the class or not."""
        member = is_member.astype(np.int64)
        return _collect(scores.astype(np.float64), member, 1 - member, snapped=False)

    def merge(self, other: ScoreCounts) -> ScoreCounts:
        """The counts of both together."""
        return _collect(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.positives, other.positives]),
            np.concatenate([self.negatives, other.negatives]),
            snapped=self.snapped or other.snapped,
        )

    def roc_auc(self) -> float | None:
        """Area under the ROC curve: the chance that a member scores higher than another row, ties half.

        Returns:
            A number in [0, 1], or None where one of the two kinds is missing.
        Source: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
        """
        pairs = float(self.positives.sum()) * float(self.negatives.sum())
        if not pairs:
            return None
        below = np.cumsum(self.negatives) - self.negatives
        wins = self.positives.astype(np.float64) * (below + 0.5 * self.negatives)
        return float(wins.sum() / pairs)

    def auc_bound(self) -> float:
        """The most by which `roc_auc` can differ from that of the scores before snapping; 0 while exact.

        Snapping keeps the order of scores that it does not make equal, so only the pairs of a member and
        another row that share a grid point can be wrong, each by a half.
        """
        pairs = float(self.positives.sum()) * float(self.negatives.sum())
        if not self.snapped or not pairs:
            return 0.0
        return float((self.positives.astype(np.float64) * self.negatives).sum() * 0.5 / pairs)

    def roc_curve(self, max_points: int = 2000) -> tuple[FloatArray, FloatArray]:
        """False and true positive rates from the highest threshold to the lowest, thinned for drawing.

        Returns:
            Two arrays of at most `max_points` + 2 points, both from 0 to 1; none if a kind is missing.
        Source: Fawcett 2006, doi:10.1016/j.patrec.2005.10.010.
        """
        if not self.positives.sum() or not self.negatives.sum():
            return np.empty(0, np.float32), np.empty(0, np.float32)
        tpr = np.concatenate([[0], np.cumsum(self.positives[::-1])]) / self.positives.sum()
        fpr = np.concatenate([[0], np.cumsum(self.negatives[::-1])]) / self.negatives.sum()
        # Evenly along the curve's length, so that steep and flat stretches keep their shape.
        along = fpr + tpr
        keep = np.unique(np.searchsorted(along, np.linspace(0, 2, max_points)).clip(0, len(along) - 1))
        keep = np.union1d(keep, [0, len(along) - 1])
        return fpr[keep].astype(np.float32), tpr[keep].astype(np.float32)


def _collect(
    scores: npt.NDArray[np.float64], positives: IntArray, negatives: IntArray, *, snapped: bool
) -> ScoreCounts:
    """Add up equal scores; snap them first if there are, or have been, too many."""
    if snapped:
        scores = _snap(scores)
    distinct, where = np.unique(scores, return_inverse=True)
    if len(distinct) > MAX_DISTINCT and not snapped:
        return _collect(scores, positives, negatives, snapped=True)
    return ScoreCounts(distinct, _add_up(where, positives), _add_up(where, negatives), snapped)


def _add_up(where: IntArray, counts: IntArray) -> IntArray:
    # bincount adds in float64, which is exact for whole numbers up to 2**53.
    return np.bincount(where, weights=counts).astype(np.int64)


def _snap(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The nearest grid point; a grid point stays where it is."""
    p = scores.clip(2.0**-40, 1 - 2.0**-40)
    steps = np.round(np.log(p / (1 - p)) / _GRID_STEP)
    return np.asarray(1 / (1 + np.exp(-steps * _GRID_STEP)))


@dataclass(frozen=True)
class Tally:
    """All that the metrics need to know of some rows."""

    confusion: IntArray
    """(C, C): rows true, columns predicted."""
    classes: tuple[ScoreCounts, ...]
    """One a class, against all others."""
    log_loss_sum: float
    """Sum of -ln of the probability of the true class, clipped to within 1.2e-7 of 0 and 1."""
    brier_sum: float
    """Squared distance between the probabilities and the truth, over all classes.

    Source: Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """

    @property
    def rows(self) -> int:
        """Rows tallied."""
        return int(self.confusion.sum())

    @classmethod
    def empty(cls, num_classes: int) -> Tally:
        """The tally of no rows."""
        return cls.of(np.empty((0, num_classes), np.float32), np.empty(0, np.int64))

    @classmethod
    def of(cls, probs: FloatArray, labels: IntArray) -> Tally:
        """Tally some rows; the predicted class is the most probable one, the first of equals.

        Args:
            probs: (N, C) float32; rows sum to 1.
            labels: (N,) int in [0, C).
        Raises:
            ValueError: the shapes disagree, a label is no integer or out of range, or a probability is not
                in [0, 1]; the values are shown.
        """
        _check(probs, labels)
        rows, classes = probs.shape
        confusion = confusion_matrix(labels, probs.argmax(1), classes)
        given = probs[np.arange(rows), labels].astype(np.float64)
        truth = np.eye(classes)[labels] if rows else np.zeros((0, classes))
        return cls(
            confusion,
            tuple(ScoreCounts.of(probs[:, c], labels == c) for c in range(classes)),
            float(-np.log(given.clip(_EPSILON, 1 - _EPSILON)).sum()),
            float(((probs - truth) ** 2).sum()),
        )

    def merge(self, other: Tally) -> Tally:
        """The tally of both together.

        Raises:
            ValueError: they are of different numbers of classes.
        """
        if self.confusion.shape != other.confusion.shape:
            raise ValueError(
                f"tallies of {len(self.classes)} and of {len(other.classes)} classes do not merge"
            )
        return Tally(
            self.confusion + other.confusion,
            tuple(a.merge(b) for a, b in zip(self.classes, other.classes, strict=True)),
            self.log_loss_sum + other.log_loss_sum,
            self.brier_sum + other.brier_sum,
        )

    def micro(self) -> ScoreCounts:
        """Every (row, class) pair as one row of a two-class problem: is this the row's class?"""
        counts = self.classes[0]
        for other in self.classes[1:]:
            counts = counts.merge(other)
        return counts


def _check(probs: FloatArray, labels: IntArray) -> None:
    if probs.ndim != 2 or labels.shape != (len(probs),):
        raise ValueError(f"probs of shape {probs.shape} and labels of shape {labels.shape} do not fit")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are {labels.dtype}, not integers")
    if len(labels) and not (labels.min() >= 0 and labels.max() < probs.shape[1]):
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, but {probs.shape[1]} classes")
    fits = (probs >= 0) & (probs <= 1)
    if not fits.all():
        row, column = np.argwhere(~fits)[0]
        raise ValueError(
            f"row {row}, class {column}: probability {probs[row, column]} is not a number from 0 to 1"
        )


def compute_metrics(tally: Tally, label_names: list[str], *, ordered: bool) -> dict[str, Any]:
    """metrics.json, but for what only the stage knows.

    Args:
        label_names: one a class, in order.
        ordered: whether the classes are ordinal, so that the distance between two has a meaning;
            `mae` is None otherwise.
    Returns:
        Plain data, every figure that of scikit-learn with `zero_division=0`. A class without rows has no
        AUC (None); macro AUC is the mean over the others.
    Raises:
        ValueError: the tally is empty, or the names are not as many as the classes.
    """
    if len(label_names) != len(tally.classes):
        raise ValueError(f"{len(label_names)} label names, but {len(tally.classes)} classes")
    if not tally.rows:
        raise ValueError("no rows to evaluate")
    per_class = per_class_metrics(tally.confusion)
    return {
        "rows": tally.rows,
        "labels": list(label_names),
        **_figures(tally.confusion, ordered=ordered),
        "log_loss": tally.log_loss_sum / tally.rows,
        "brier": tally.brier_sum / tally.rows,
        "roc_auc": _auc(tally, label_names),
        "per_class": {
            name: {key: values[i].item() for key, values in per_class.items()}
            for i, name in enumerate(label_names)
        },
        "confusion": tally.confusion.tolist(),
        "majority": _majority(tally.confusion, label_names, ordered=ordered),
    }


def _auc(tally: Tally, label_names: list[str]) -> dict[str, Any]:
    micro = tally.micro()
    per_class = {name: counts.roc_auc() for name, counts in zip(label_names, tally.classes, strict=True)}
    known = [auc for auc in per_class.values() if auc is not None]
    return {
        "macro": float(np.mean(known)) if known else None,
        "micro": micro.roc_auc(),
        "per_class": per_class,
        "bound": max(counts.auc_bound() for counts in (micro, *tally.classes)),
    }


def _majority(confusion: IntArray, label_names: list[str], *, ordered: bool) -> dict[str, Any]:
    """The same figures of always answering the most frequent class."""
    support = confusion.sum(1)
    best = int(support.argmax())
    always = np.zeros_like(confusion)
    always[:, best] = support
    return {"label": label_names[best], **_figures(always, ordered=ordered)}


def _figures(confusion: IntArray, *, ordered: bool) -> dict[str, float | None]:
    return {**point_metrics(confusion), "mae": mean_absolute_error(confusion) if ordered else None}
