"""Pictures of a tally, as PNG bytes of 1200 by 1200 pixels; the same tally gives the same bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline import plotstyle
from pipeline.humanize import counted
from pipeline.metrics.tally import ScoreCounts, Tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_roc(tally: Tally, label_names: list[str]) -> bytes:
    """ROC curves: each class against the others, and all of them together (micro average).

    A class without rows is left out.
    """
    rows = counted(tally.rows, "review")
    figure, axes = plotstyle.new_figure("ROC curves: each class against the rest", rows)
    axes.plot([0, 1], [0, 1], color=plotstyle.FAINT, linewidth=1, linestyle=(0, (2, 3)))
    axes.text(
        0.53, 0.5, "chance", color=plotstyle.SOFT, size=8, rotation=45, va="top", rotation_mode="anchor"
    )
    colors = plotstyle.class_colors(len(label_names))
    # The curves of two classes nearly coincide: a thin one on a thick one, both show.
    widths = (3.2, 1.3) if len(label_names) == 2 else (1.9,) * len(label_names)
    for name, counts, color, width in zip(label_names, tally.classes, colors, widths, strict=True):
        _draw_curve(axes, counts, name, color=color, linewidth=width)
    _draw_curve(
        axes, tally.micro(), "micro average", color=plotstyle.INK, linewidth=1.4, linestyle=(0, (4, 2))
    )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("False positive rate: other reviews taken for the class")
    axes.set_ylabel("True positive rate: reviews of the class found")
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
        label = f"{auc:.3f}   {plotstyle.plain(name)}"
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
    """Confusion matrix: shade and percentage are shares of the true class, the small number counts rows."""
    from matplotlib import colormaps

    counts = tally.confusion
    support = counts.sum(1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    figure, axes = plotstyle.new_figure(
        "What reviews of each class were taken for",
        f"{counted(tally.rows, 'review')}; percentages are of the true class",
    )
    shades = colormaps["Blues"]
    axes.imshow(shares, cmap=shades, vmin=0, vmax=1)
    # Long names take room from the cells.
    size = (8 + 28 / len(counts)) * (1.0 if plotstyle.names_fit(label_names) else 0.7)
    _label_cells(axes, counts, shades(shares), size)
    plotstyle.set_names(axes.xaxis, label_names)
    plotstyle.set_names(axes.yaxis, label_names)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    # White gaps between the cells, so that pale neighbours stay apart.
    axes.set_xticks(np.arange(1, len(counts)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(counts)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return plotstyle.to_png(figure)


def _label_cells(
    axes: Axes, counts: npt.NDArray[np.int64], shades: npt.NDArray[np.float64], size: float
) -> None:
    """The share above the count in every cell.

    Args:
        size: of the share, in points.
    """
    for row, column in np.ndindex(counts.shape):
        annotate = partial(
            axes.annotate,
            xy=(column, row),
            textcoords="offset points",
            ha="center",
            color=_ink_on(shades[row, column]),
        )
        share = _percent(int(counts[row, column]), int(counts[row].sum()))
        annotate(share, xytext=(0, -0.1 * size), va="bottom", size=size)
        annotate(f"{counts[row, column]:,}", xytext=(0, -0.35 * size), va="top", size=0.62 * size)


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
