"""Plots of the data card."""

from __future__ import annotations

import numpy as np

from pipeline import plotstyle
from pipeline.arrays import Float64Array, IntArray
from pipeline.details import PrepareDetails
from pipeline.humanize import counted
from pipeline.prepare.split import SPLITS

_BARS = 40


def draw_stars(card: PrepareDetails) -> bytes:
    """Shares of the stars in each split, side by side; shares of the classes if no row has stars."""
    starred = any(sum(counts.values()) for counts in card.rows_by_stars.values())
    what, rows = ("Stars", card.rows_by_stars) if starred else ("Classes", card.rows_by_label)
    note = f"{counted(card.rows, 'review')}; shares within each split"
    figure, axes = plotstyle.new_figure(f"{what} in each split", note)
    splits = [s for s in SPLITS if sum(rows[s].values())]
    names = list(rows[SPLITS[0]])
    horizontal = not plotstyle.tick_names_fit(names)
    width = 0.8 / max(1, len(splits))
    for index, (split, color) in enumerate(zip(splits, plotstyle.class_colors(3), strict=False)):
        counts = np.array(list(rows[split].values()))
        place = np.arange(len(names)) + (index - (len(splits) - 1) / 2) * width
        bars = axes.barh if horizontal else axes.bar
        bars(place, counts / counts.sum(), width * 0.92, color=color, label=f"{split}, {counts.sum():,}")
    name_axis, share_axis = (axes.yaxis, axes.xaxis) if horizontal else (axes.xaxis, axes.yaxis)
    plotstyle.set_tick_names(name_axis, names)
    if horizontal:
        name_axis.set_inverted(True)
    name_axis.set_label_text(what)
    share_axis.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    axes.legend(frameon=False, labelcolor=plotstyle.INK)
    return plotstyle.to_png(figure)


def draw_lengths(card: PrepareDetails) -> bytes:
    """Histogram of the number of tokens, with a line at the maximum length."""
    median = card.length_quantiles.get("0.5", 0)
    note = f"median {median:,}; {card.truncated_frac:.1%} are longer than {card.max_length} and were cut"
    figure, axes = plotstyle.new_figure("Length of the reviews in tokens", note)
    lengths = np.array([int(n) for n in card.length_histogram])
    counts = np.array(list(card.length_histogram.values()))
    edges = _edges(lengths)
    heights, _ = np.histogram(lengths, edges, weights=counts)
    # Per token: bars at short lengths cover one or two integers each, so raw sums would zigzag.
    heights = heights / np.diff(edges)
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=plotstyle.COLORS[4], edgecolor="white")
    axes.axvline(card.max_length, color=plotstyle.COLORS[0], linewidth=1.4)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("Tokens of a review, before truncation")
    axes.set_ylabel("Reviews per length")
    return plotstyle.to_png(figure)


def _edges(lengths: IntArray) -> Float64Array:
    """Edges of bars that look equally wide on a logarithmic axis; all are between integers."""
    low, high = (int(lengths.min()), int(lengths.max())) if len(lengths) else (1, 2)
    edges = np.geomspace(max(1, low), high + 1, _BARS)
    return np.unique(np.floor(edges)) - 0.5


def draw_rejects(card: PrepareDetails) -> bytes:
    """Number of rejected lines by reason."""
    rejected = card.rejected
    share = sum(rejected.values()) / card.lines
    figure, axes = plotstyle.new_figure(
        "Rejected lines", f"{sum(rejected.values()):,} of {card.lines:,} ({share:.2%})"
    )
    place = range(len(rejected))
    bars = axes.barh(place, list(rejected.values()), color=plotstyle.COLORS[4])
    axes.bar_label(bars, [f"{n:,}" for n in rejected.values()], padding=4, color=plotstyle.INK)
    axes.set_yticks(place, list(rejected))
    axes.set_ylim(max(5, len(rejected)) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("Lines")
    return plotstyle.to_png(figure)
