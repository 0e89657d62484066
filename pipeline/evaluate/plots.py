"""Plots of a tally as PNG bytes, 1200 x 1200 pixels; equal tallies result in equal bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipeline import plotstyle
from pipeline.arrays import Float64Array, IntArray
from pipeline.humanize import counted
from pipeline.metrics.tally import ScoreCounts, Tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_roc(tally: Tally, label_names: list[str]) -> bytes:
    """ROC curves of each class against the rest, and of the micro average; omits classes without rows."""
    rows = counted(tally.rows, "review")
    figure, axes = plotstyle.new_figure("ROC curves: each class against the rest", rows)
    axes.plot([0, 1], [0, 1], color=plotstyle.FAINT, linewidth=1, linestyle=(0, (2, 3)))
    axes.text(
        0.53, 0.5, "chance", color=plotstyle.SOFT, size=8, rotation=45, va="top", rotation_mode="anchor"
    )
    colors = plotstyle.class_colors(len(label_names))
    # Curves of two classes nearly coincide; with different widths both stay visible.
    widths = (3.2, 1.3) if len(label_names) == 2 else (1.9,) * len(label_names)
    for name, counts, color, width in zip(label_names, tally.classes, colors, widths, strict=True):
        _draw_curve(axes, counts, name, color=color, linewidth=width)
    _draw_curve(
        axes, tally.micro(), "micro average", color=plotstyle.INK, linewidth=1.4, linestyle=(0, (4, 2))
    )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("False positive rate (other reviews predicted as the class)")
    axes.set_ylabel("True positive rate (reviews of the class predicted as such)")
    legend = axes.legend(
        loc="lower right", title="Area under the curve", frameon=False, labelcolor=plotstyle.INK
    )
    legend.set_alignment("left")
    legend.get_title().set_color(plotstyle.INK)
    return plotstyle.to_png(figure)


def _draw_curve(
    axes: Axes,
    counts: ScoreCounts,
    name: str,
    *,
    color: str,
    linewidth: float,
    linestyle: str | tuple[float, tuple[float, float]] = "-",
) -> None:
    auc = counts.roc_auc()
    if auc is not None:
        fpr, tpr = counts.roc_curve()
        label = f"{auc:.3f}   {plotstyle.display_name(name)}"
        axes.plot(
            fpr,
            tpr,
            label=label,
            color=color,
            linewidth=linewidth,
            linestyle=linestyle,
            solid_joinstyle="round",
        )


def draw_confusion(tally: Tally, label_names: list[str]) -> bytes:
    """Confusion matrix; cells show the fraction of the true class as shade and percentage, and the count."""
    from matplotlib import colormaps

    counts = tally.confusion
    support = counts.sum(1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    figure, axes = plotstyle.new_figure(
        "Confusion matrix: true and predicted classes",
        f"{counted(tally.rows, 'review')}; percentages are relative to the true class",
    )
    shades = colormaps["Blues"]
    axes.imshow(shares, cmap=shades, vmin=0, vmax=1)
    # Long names leave less space for the cells.
    size = (8 + 28 / len(counts)) * (1.0 if plotstyle.tick_names_fit(label_names) else 0.7)
    _label_cells(axes, counts, shades(shares), size)
    plotstyle.set_tick_names(axes.xaxis, label_names)
    plotstyle.set_tick_names(axes.yaxis, label_names)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    # White lines separate adjacent pale cells.
    axes.set_xticks(np.arange(1, len(counts)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(counts)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return plotstyle.to_png(figure)


def _label_cells(axes: Axes, counts: IntArray, shades: Float64Array, size: float) -> None:
    """Write the percentage and, below it, the count into every cell.

    Args:
        counts: (C, C) rows per cell.
        shades: (C, C, 4) RGBA color of each cell.
        size: font size of the percentage, in points.
    """
    for row, column in np.ndindex(counts.shape):
        annotate = partial(
            axes.annotate,
            xy=(column, row),
            textcoords="offset points",
            ha="center",
            color=_ink_on(shades[row, column]),
        )
        percentage = _percent(int(counts[row, column]), int(counts[row].sum()))
        annotate(percentage, xytext=(0, -0.1 * size), va="bottom", size=size)
        annotate(f"{counts[row, column]:,}", xytext=(0, -0.35 * size), va="top", size=0.62 * size)


def _percent(count: int, total: int) -> str:
    """Rounded percentage; `<1%` and `>99%` distinguish some from none and nearly all from all."""
    if not total:
        return "–"
    text = f"{count / total:.0%}"
    if text == "0%" and count:
        return "<1%"
    if text == "100%" and count < total:
        return ">99%"
    return text


def _ink_on(rgba: Float64Array) -> str:
    """White or black, whichever has more contrast with a color.

    Source: WCAG 2.2, relative luminance and contrast ratio.
    """
    linear = np.where(rgba[:3] <= 0.04045, rgba[:3] / 12.92, ((rgba[:3] + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"
