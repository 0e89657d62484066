"""Pictures of a tally, as PNG bytes; the same tally gives the same bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from pipeline.evaluate.metrics import ScoreCounts, Tally

_DPI = 150
# Okabe and Ito 2008: told apart with any kind of colour vision.
_COLORS = ("#D55E00", "#E69F00", "#009E73", "#56B4E9", "#0072B2", "#CC79A7", "#000000")
_INK = "#22262b"
_FAINT = "#9aa3ad"


def draw_roc(tally: Tally, label_names: list[str]) -> bytes:
    """ROC curves: each class against the others, and all of them together (micro average).

    A class without rows is left out.
    """
    figure, axes = _new_figure(6.8, 6.8)
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=(0, (2, 3)))
    for index, (name, counts) in enumerate(zip(label_names, tally.classes, strict=True)):
        _draw_curve(axes, counts, f"{name}", color=_COLORS[index % len(_COLORS)], linewidth=1.8)
    _draw_curve(axes, tally.micro(), "micro average", color=_INK, linewidth=1.6, linestyle=(0, (4, 2)))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("False positive rate: other reviews taken for the class")
    axes.set_ylabel("True positive rate: reviews of the class found")
    axes.set_title(f"ROC curves, one class against the rest: {tally.rows:,} reviews", loc="left")
    legend = axes.legend(loc="lower right", title="Class and area under its curve", frameon=False)
    legend.get_title().set_color(_INK)
    return _to_png(figure)


def _draw_curve(axes: Any, counts: ScoreCounts, name: str, **style: Any) -> None:
    auc = counts.roc_auc()
    if auc is not None:
        fpr, tpr = counts.roc_curve()
        axes.plot(fpr, tpr, label=f"{name}   {auc:.3f}", solid_joinstyle="round", **style)


def draw_confusion(tally: Tally, label_names: list[str]) -> bytes:
    """Confusion matrix: shade and percentage are shares of the true class, the small number counts rows."""
    counts = tally.confusion
    support = counts.sum(1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    size = 2.6 + 1.0 * len(label_names)
    figure, axes = _new_figure(size + 0.6, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        color = "white" if shares[row, column] > 0.55 else _INK
        axes.text(
            column, row - 0.06, f"{shares[row, column]:.0%}", ha="center", va="center", color=color, size=13
        )
        axes.text(
            column, row + 0.19, f"{counts[row, column]:,}", ha="center", va="center", color=color, size=8
        )
    ticks = range(len(label_names))
    axes.set_xticks(ticks, label_names)
    axes.set_yticks(ticks, label_names)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(f"What reviews of each class were taken for: {tally.rows:,} reviews", loc="left", size=10)
    return _to_png(figure)


def _new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes, without pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK)
    return figure, axes


def _to_png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
