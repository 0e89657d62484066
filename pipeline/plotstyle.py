"""Common style of all plots, and their export to PNG; equal input results in equal bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.humanize import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

_INCHES = 6.0
_DPI = 200
_MAX_LINE_CHARS = 24
_FONT_POINTS = 10.0
_SMALL_FONT_POINTS = 7.5
_AXIS_CHARS = 52
"""Number of characters of the normal font size that fit along an axis."""
_AXIS_POINTS = 300.0
COLORS = ("#D55E00", "#E69F00", "#009E73", "#56B4E9", "#0072B2", "#CC79A7", "#999999")
"""Okabe and Ito 2008: distinguishable with any kind of color vision."""
INK = "#22262b"
"""Color of text."""
SOFT = "#5d6670"
"""Color of secondary text."""
FAINT = "#9aa3ad"
"""Color of axes and reference lines."""


def class_colors(num_classes: int) -> list[str]:
    """One color per class: up to 5 classes span the scale from red to blue, more cycle through all colors."""
    if num_classes <= 5:
        return [COLORS[i] for i in np.linspace(0, 4, num_classes).round().astype(int)]
    return [COLORS[i % len(COLORS)] for i in range(num_classes)]


def new_figure(title: str, subtitle: str) -> tuple[Figure, Axes]:
    """A square figure and its axes, created without pyplot's global state."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DPI, layout=layout, facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.set_title(title, loc="left", size=12, weight="bold", color=INK, pad=24)
    axes.annotate(
        subtitle, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", color=SOFT, size=9.5
    )
    return figure, axes


def display_name(name: str) -> str:
    """A name from a dump or a setting, for plots: at most two lines of 24 characters, dollars escaped."""
    lines = textwrap.wrap(printable(name), _MAX_LINE_CHARS, max_lines=2, placeholder="…")
    # Matplotlib interprets text between dollar signs as a formula.
    return "\n".join(lines).replace("$", "\\$")


def tick_names_fit(names: Sequence[str]) -> bool:
    """Whether names fit horizontally, side by side, below a plot."""
    max_chars = max((len(line) for name in names for line in display_name(name).split("\n")), default=0)
    return len(names) * (max_chars + 2) <= _AXIS_CHARS


def set_tick_names(axis: XAxis | YAxis, names: Sequence[str]) -> None:
    """Label the ticks 0, 1 … of an axis with names; names that do not fit side by side are rotated."""
    fit = tick_names_fit(names)
    size = min(_FONT_POINTS if fit else _SMALL_FONT_POINTS, _AXIS_POINTS / max(1, len(names)))
    rotation = 90 if axis.axis_name == "x" and not fit else 0
    axis.set_ticks(range(len(names)), [display_name(n) for n in names], size=size, rotation=rotation)


def to_png(figure: Figure) -> bytes:
    """PNG bytes of a figure, without date and software version, so that they are reproducible."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
