"""Metrics of a confusion matrix of C classes; they depend on predicted classes, not on probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.arrays import Float64Array, IntArray


def confusion_matrix(labels: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """(C, C) int64 counts: rows are true classes, columns predicted classes.

    Args:
        labels: (N,) int in [0, C).
        predicted: (N,) int in [0, C).
    """
    cells = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


class PerClass(NamedTuple):
    """Metrics of each class against all others; 0 if a denominator is 0."""

    precision: Float64Array
    """(C,), like `recall` and `f1`."""
    recall: Float64Array
    f1: Float64Array
    support: IntArray
    """(C,) number of rows of each class."""


def per_class_metrics(confusion: IntArray) -> PerClass:
    """Metrics of each class.

    Args:
        confusion: (C, C) counts from `confusion_matrix`.
    """
    correct = np.diag(confusion).astype(np.float64)
    predicted, support = confusion.sum(0), confusion.sum(1)
    return PerClass(
        precision=_divide(correct, predicted),
        recall=_divide(correct, support),
        f1=_divide(2 * correct, predicted + support),
        support=support,
    )


def point_metrics(confusion: IntArray) -> dict[str, float]:
    """Accuracy, balanced accuracy, and macro and weighted averages of precision, recall and F1.

    Args:
        confusion: (C, C) counts from `confusion_matrix`; at least one row was counted.
    Source: scikit-learn's accuracy_score, balanced_accuracy_score (the mean recall of the classes that
        occur), precision_recall_fscore_support.
    """
    rows = float(confusion.sum())
    per_class = per_class_metrics(confusion)
    weights = per_class.support / rows
    occurs = per_class.support > 0
    return {
        "accuracy": float(np.diag(confusion).sum() / rows),
        "balanced_accuracy": float(per_class.recall[occurs].mean()),
        "macro_f1": float(per_class.f1.mean()),
        "macro_precision": float(per_class.precision.mean()),
        "macro_recall": float(per_class.recall.mean()),
        "weighted_f1": float(weights @ per_class.f1),
        "weighted_precision": float(weights @ per_class.precision),
        "weighted_recall": float(weights @ per_class.recall),
    }


def mean_absolute_error(confusion: IntArray) -> float:
    """Mean of |predicted class - true class|, for ordinal classes.

    Args:
        confusion: (C, C) counts from `confusion_matrix`; at least one row was counted.
    """
    classes = np.arange(len(confusion))
    distance = np.abs(np.subtract.outer(classes, classes))
    return float((confusion * distance).sum() / confusion.sum())


def _divide(numerator: Float64Array, denominator: IntArray) -> Float64Array:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
