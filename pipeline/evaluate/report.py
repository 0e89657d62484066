"""Presentation of metrics.json: a table for the terminal, and an HTML page."""

from __future__ import annotations

import base64
from pathlib import Path

from pipeline.humanize import counted
from pipeline.metrics.schema import Metrics, MetricsFile, PointMetric

_ROWS: tuple[tuple[str, PointMetric], ...] = (
    ("Accuracy", "accuracy"),
    ("Balanced accuracy", "balanced_accuracy"),
    ("Macro F1", "macro_f1"),
    ("Macro precision", "macro_precision"),
    ("Macro recall", "macro_recall"),
    ("Weighted F1", "weighted_f1"),
    ("Weighted precision", "weighted_precision"),
    ("Weighted recall", "weighted_recall"),
    ("Mean absolute error in classes", "mae"),
)


def metrics_table(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Rows of name, value of the model, and value of the majority baseline ("" if undefined)."""
    majority = metrics["majority"]
    rows = [(name, _number(metrics[key]), _number(majority[key])) for name, key in _ROWS]
    auc = metrics["roc_auc"]
    rows += [_auc_row("ROC AUC, macro", auc["macro"])]
    rows += [("ROC AUC, micro", _number(auc["micro"]), "")]
    rows += [_auc_row(f"ROC AUC, class {name}", auc["per_class"][name]) for name in metrics["labels"]]
    if auc["bound"]:
        rows += [("ROC AUC, maximum error", f"{auc['bound']:.1e}", "")]
    rows += [("Log loss", _number(metrics["log_loss"]), ""), ("Brier score", _number(metrics["brier"]), "")]
    return rows


def _auc_row(name: str, auc: float | None) -> tuple[str, str, str]:
    # The majority baseline gives all rows the same score: every pair is a tie.
    return name, _number(auc), "" if auc is None else _number(0.5)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def render_report(
    metrics: MetricsFile, *, title: str, facts: dict[str, str], images: dict[str, bytes]
) -> str:
    """Self-contained HTML page with metrics, plots and a description of the evaluated data.

    Args:
        metrics: content of metrics.json.
        facts: names and values of the description.
        images: PNG bytes by file name; roc.png and confusion.png.
    Raises:
        jinja2.UndefinedError: a metric or an image is missing.
    """
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        title=title,
        metrics=metrics,
        counted=counted,
        table=metrics_table(metrics),
        facts=facts,
        images={name: base64.b64encode(data).decode() for name, data in images.items()},
    )
