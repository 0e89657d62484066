"""Figures of a confusion matrix: of predicted classes alone, without probabilities. C classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import IntArray


def confusion_matrix(labels: IntArray, predicted: IntArray, num_classes: int) -> IntArray:
    """(C, C) int64: rows true, columns predicted.

    Args:
        labels: (N,) int in [0, C).
        predicted: (N,) int in [0, C).
    """
    cells = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class_metrics(confusion: IntArray) -> dict[str, npt.NDArray[Any]]:
    """precision, recall, f1 (C,) float64 and support (C,) int64; 0 where a denominator is 0."""
    right = np.diag(confusion).astype(np.float64)
    predicted, support = confusion.sum(0), confusion.sum(1)
    return {
        "precision": _divide(right, predicted),
        "recall": _divide(right, support),
        "f1": _divide(2 * right, predicted + support),
        "support": support,
    }


def point_metrics(confusion: IntArray) -> dict[str, float]:
    """Figures of the predicted classes alone.

    Args:
        confusion: (C, C): rows true, columns predicted; at least one row.
    Source: scikit-learn's accuracy_score, balanced_accuracy_score (the mean recall of the classes that
        occur), precision_recall_fscore_support.
    """
    rows = float(confusion.sum())
    each = per_class_metrics(confusion)
    weights = each["support"] / rows
    occurs = each["support"] > 0
    return {
        "accuracy": float(np.diag(confusion).sum() / rows),
        "balanced_accuracy": float(each["recall"][occurs].mean()),
        "macro_f1": float(each["f1"].mean()),
        "macro_precision": float(each["precision"].mean()),
        "macro_recall": float(each["recall"].mean()),
        "weighted_f1": float(weights @ each["f1"]),
        "weighted_precision": float(weights @ each["precision"]),
        "weighted_recall": float(weights @ each["recall"]),
    }


def mean_absolute_error(confusion: IntArray) -> float:
    """The mean of |predicted class - true class|; for classes that have an order.

    Args:
        confusion: (C, C) counts, true classes by predicted ones; at least one row was counted.
    """
    classes = np.arange(len(confusion))
    distance = np.abs(np.subtract.outer(classes, classes))
    return float((confusion * distance).sum() / confusion.sum())


def _divide(numerator: npt.NDArray[np.float64], denominator: IntArray) -> npt.NDArray[np.float64]:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
