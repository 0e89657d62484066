"""Types of the content of metrics.json, with the fields in the order in which they are written."""

from __future__ import annotations

from typing import Literal

# Pydantic requires this TypedDict for Python before 3.12.
from typing_extensions import TypedDict

PointMetric = Literal[
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "weighted_f1",
    "weighted_precision",
    "weighted_recall",
    "mae",
]
"""A key of `PointMetrics`."""


class PointMetrics(TypedDict):
    """Metrics of the predicted classes; they do not depend on probabilities. In [0, 1], except `mae`."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    macro_precision: float
    macro_recall: float
    weighted_f1: float
    weighted_precision: float
    weighted_recall: float
    mae: float | None
    """Mean |predicted class - true class|; None if the classes are not ordinal."""


class ClassMetrics(TypedDict):
    """Metrics of one class against all others."""

    precision: float
    recall: float
    f1: float
    support: int
    """Number of rows of the class."""


class RocAuc(TypedDict):
    """Areas under ROC curves; None if a class has no rows, or all of them."""

    macro: float | None
    micro: float | None
    per_class: dict[str, float | None]
    bound: float
    """Maximum error of each area, from snapped scores."""


class _Label(TypedDict):
    label: str


class Majority(_Label, PointMetrics):
    """Metrics of the baseline that always predicts the most frequent class, `label`."""


class _Rows(TypedDict):
    rows: int
    labels: list[str]


class Metrics(_Rows, PointMetrics):
    """Metrics of a tally."""

    log_loss: float
    brier: float
    roc_auc: RocAuc
    per_class: dict[str, ClassMetrics]
    confusion: list[list[int]]
    """(C, C) counts: rows are true classes, columns predicted classes."""
    majority: Majority


class MetricsFile(Metrics):
    """Content of metrics.json."""

    rows_without_label: int
    """Number of scored rows without a known label."""
