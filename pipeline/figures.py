"""The style of all pictures: one look, PNG bytes, the same input gives the same bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

_INCHES = 6.0
_DPI = 200
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


def new_figure(title: str, subtitle: str) -> tuple[Any, Any]:
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


def to_png(figure: Any) -> bytes:
    """The figure as a PNG without a date in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": None})
    return sink.getvalue()
