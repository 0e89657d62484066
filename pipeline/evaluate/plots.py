"""Pictures of a tally, as PNG bytes of 1200 by 1200 pixels; the same tally gives the same bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics import ScoreCounts, Tally

_INCHES = 6.0
_DPI = 200
# Okabe and Ito 2008: told apart with any kind of colour vision.
_COLORS = ("#D55E00", "#E69F00", "#009E73", "#56B4E9", "#0072B2", "#CC79A7", "#999999")
_INK = "#22262b"
_SOFT = "#5d6670"
_FAINT = "#9aa3ad"


def draw_roc(tally: Tally, label_names: list[str]) -> bytes:
    """ROC curves: each class against the others, and all of them together (micro average).

    A class without rows is left out.
    """
    figure, axes = _new_figure("ROC curves: each class against the rest", f"{tally.rows:,} reviews")
    axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=(0, (2, 3)))
    axes.text(0.53, 0.5, "chance", color=_SOFT, size=8, rotation=45, va="top", rotation_mode="anchor")
    colors = _class_colors(len(label_names))
    # The curves of two classes nearly coincide: a thin one on a thick one, both show.
    widths = (3.2, 1.3) if len(label_names) == 2 else (1.9,) * len(label_names)
    for name, counts, color, width in zip(label_names, tally.classes, colors, widths, strict=True):
        _draw_curve(axes, counts, name, color=color, linewidth=width)
    _draw_curve(axes, tally.micro(), "micro average", color=_INK, linewidth=1.4, linestyle=(0, (4, 2)))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("False positive rate: other reviews taken for the class")
    axes.set_ylabel("True positive rate: reviews of the class found")
    legend = axes.legend(loc="lower right", title="Area under the curve", frameon=False, labelcolor=_INK)
    legend.set_alignment("left")
    legend.get_title().set_color(_INK)
    return _to_png(figure)


def _draw_curve(axes: Any, counts: ScoreCounts, name: str, **style: Any) -> None:
    auc = counts.roc_auc()
    if auc is not None:
        fpr, tpr = counts.roc_curve()
        axes.plot(fpr, tpr, label=f"{auc:.3f}   {name}", solid_joinstyle="round", **style)


def _class_colors(num_classes: int) -> list[str]:
    """Up to five classes from one end of the scale to the other; more take what is left, in turn."""
    if num_classes <= 5:
        return [_COLORS[i] for i in np.linspace(0, 4, num_classes).round().astype(int)]
    return [_COLORS[i % len(_COLORS)] for i in range(num_classes)]


def draw_confusion(tally: Tally, label_names: list[str]) -> bytes:
    """Confusion matrix: shade and percentage are shares of the true class, the small number counts rows."""
    from matplotlib import colormaps

    counts = tally.confusion
    support = counts.sum(1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    figure, axes = _new_figure(
        "What reviews of each class were taken for",
        f"{tally.rows:,} reviews; percentages are of the true class",
    )
    shades = colormaps["Blues"]
    axes.imshow(shares, cmap=shades, vmin=0, vmax=1)
    _label_cells(axes, counts, shades(shares))
    ticks = range(len(label_names))
    axes.set_xticks(ticks, label_names)
    axes.set_yticks(ticks, label_names)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    # White gaps between the cells, so that pale neighbours stay apart.
    axes.set_xticks(np.arange(1, len(counts)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(counts)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return _to_png(figure)


def _label_cells(axes: Any, counts: npt.NDArray[np.int64], shades: npt.NDArray[np.float64]) -> None:
    """The share above the count in every cell, as large as the cell allows."""
    size = 8 + 28 / len(counts)
    for row, column in np.ndindex(counts.shape):
        text = {
            "xy": (column, row),
            "textcoords": "offset points",
            "ha": "center",
            "color": _ink_on(shades[row, column]),
        }
        share = _percent(int(counts[row, column]), int(counts[row].sum()))
        axes.annotate(share, xytext=(0, -0.1 * size), va="bottom", size=size, **text)
        axes.annotate(
            f"{counts[row, column]:,}", xytext=(0, -0.35 * size), va="top", size=0.62 * size, **text
        )


def _percent(count: int, total: int) -> str:
    """A whole percentage; never 0% of something, nor 100% of less than all."""
    if not total:
        return "–"
    text = f"{count / total:.0%}"
    if text == "0%" and count:
        return "<1%"
    if text == "100%" and count < total:
        return ">99%"
    return text


def _ink_on(rgba: npt.NDArray[np.float64]) -> str:
    """Whichever of white and black is easier to read on a colour.

    Source: WCAG 2.2, relative luminance and contrast ratio.
    """
    linear = np.where(rgba[:3] <= 0.04045, rgba[:3] / 12.92, ((rgba[:3] + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def _new_figure(title: str, subtitle: str) -> tuple[Any, Any]:
    """A figure and its axes, without pyplot's global state."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DPI, layout=layout, facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(color=_FAINT, labelcolor=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    axes.set_title(title, loc="left", size=12, weight="bold", color=_INK, pad=24)
    axes.annotate(
        subtitle, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", color=_SOFT, size=9.5
    )
    return figure, axes


def _to_png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
