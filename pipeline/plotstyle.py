"""The style of all pictures: one look, PNG bytes, the same input gives the same bytes."""

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
_NAME_CHARS = 24
_NAME_POINTS = 10.0
_SMALL_NAME_POINTS = 7.5
_CHARS_WIDE = 52
"""So many characters of a name's size are as long as an axis."""
_AXIS_POINTS = 300.0
# Okabe and Ito 2008: told apart with any kind of colour vision.
COLORS = ("#D55E00", "#E69F00", "#009E73", "#56B4E9", "#0072B2", "#CC79A7", "#999999")
INK = "#22262b"
SOFT = "#5d6670"
FAINT = "#9aa3ad"


def class_colors(num_classes: int) -> list[str]:
    """Up to five classes from one end of the scale to the other; more take what is left, in turn."""
    if num_classes <= 5:
        return [COLORS[i] for i in np.linspace(0, 4, num_classes).round().astype(int)]
    return [COLORS[i % len(COLORS)] for i in range(num_classes)]


def new_figure(title: str, subtitle: str) -> tuple[Figure, Axes]:
    """A figure and its axes, without pyplot's global state."""
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


def plain(name: str) -> str:
    """A name from a dump or a setting, as it is drawn: two short lines at most, and no formula."""
    # Between two dollar signs matplotlib would read mathematics.
    return "\n".join(textwrap.wrap(printable(name), _NAME_CHARS, max_lines=2, placeholder="…")).replace(
        "$", "\\$"
    )


def names_fit(names: Sequence[str]) -> bool:
    """Whether names can stand side by side below a picture."""
    longest = max((len(line) for name in names for line in plain(name).split("\n")), default=0)
    return len(names) * (longest + 2) <= _CHARS_WIDE


def set_names(axis: XAxis | YAxis, names: Sequence[str]) -> None:
    """Name the places 0, 1 … of an axis; names that do not fit side by side stand upright."""
    fit = names_fit(names)
    size = min(_NAME_POINTS if fit else _SMALL_NAME_POINTS, _AXIS_POINTS / max(1, len(names)))
    upright = axis.axis_name == "x" and not fit
    axis.set_ticks(range(len(names)), [plain(n) for n in names], size=size, rotation=90 if upright else 0)


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG without a date in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
