"""metrics.json as typed dictionaries. Fields are written in the order in which they are listed here."""

from __future__ import annotations

from typing import Literal

# Pydantic requires this TypedDict for Python before 3.12.
from typing_extensions import TypedDict

Figure = Literal[
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
"""A key of `Figures`."""


class Figures(TypedDict):
    """Figures of the predicted classes, without probabilities; each in [0, 1] except `mae`."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    macro_precision: float
    macro_recall: float
    weighted_f1: float
    weighted_precision: float
    weighted_recall: float
    mae: float | None
    """Mean distance between predicted and true class; None where classes have no order."""


class ClassFigures(TypedDict):
    """Figures of one class against all others."""

    precision: float
    recall: float
    f1: float
    support: int
    """Rows of the class."""


class RocAuc(TypedDict):
    """Areas under ROC curves; None where a class has no rows, or has all of them."""

    macro: float | None
    micro: float | None
    per_class: dict[str, float | None]
    bound: float
    """Maximum error of each of them."""


class _Label(TypedDict):
    label: str


class Majority(_Label, Figures):
    """Figures of always answering the most frequent class, `label`."""


class _Rows(TypedDict):
    rows: int
    labels: list[str]


class Metrics(_Rows, Figures):
    """Figures of a tally."""

    log_loss: float
    brier: float
    roc_auc: RocAuc
    per_class: dict[str, ClassFigures]
    confusion: list[list[int]]
    """Rows true, columns predicted."""
    majority: Majority


class MetricsFile(Metrics):
    """metrics.json."""

    rows_without_label: int
    """Scored rows that could not be evaluated."""
