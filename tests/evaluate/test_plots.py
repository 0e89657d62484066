"""Content of the plots; test_pictures_and_page.py tests that they are valid and reproducible."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from pipeline.evaluate.plots import _ink_on, _percent, draw_confusion, draw_roc
from pipeline.metrics.tally import Tally
from pipeline.plotstyle import class_colors

Draw = Callable[[Tally, list[str]], bytes]


def make(classes: int) -> Tally:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 300)
    probs = 0.5 * rng.dirichlet(np.ones(classes), 300) + 0.5 * np.eye(classes)[labels]
    return Tally.from_probs(probs.astype(np.float32), labels)


def names(classes: int) -> list[str]:
    return [f"c{i}" for i in range(classes)]


@cache
def drawn(draw: Draw, classes: int) -> bytes:
    """The plot of `make(classes)`; drawing takes long."""
    return draw(make(classes), names(classes))


@pytest.mark.parametrize("classes", [2, 3, 5, 9])
@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_images_have_1200_x_1200_pixels_and_no_metadata(classes: int, draw: Draw) -> None:
    image = drawn(draw, classes)
    assert struct.unpack(">II", image[16:24]) == (1200, 1200)
    # A date or a software version would change the bytes.
    assert not any(chunk in image for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME"))


@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_different_rows_result_in_a_different_image(draw: Draw) -> None:
    other = make(3).merge(make(3))
    assert drawn(draw, 3) != draw(other, names(3))


@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_names_are_drawn(draw: Draw) -> None:
    assert drawn(draw, 2) != draw(make(2), ["c0", "x"])


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [
        (0, 10, "0%"),
        (10, 10, "100%"),
        (1, 1000, "<1%"),
        (999, 1000, ">99%"),
        (5, 1000, "<1%"),
        (995, 1000, ">99%"),
        (6, 1000, "1%"),
        (1, 3, "33%"),
        (0, 0, "–"),
    ],
)
def test_percentages_do_not_round_to_none_or_all(count: int, total: int, text: str) -> None:
    assert _percent(count, total) == text


@pytest.mark.parametrize("share", np.linspace(0, 1, 21))
def test_cell_text_has_contrast_on_every_shade(share: float) -> None:
    from matplotlib import colormaps

    shade = np.array(colormaps["Blues"](share))
    rgb = np.where(shade[:3] <= 0.04045, shade[:3] / 12.92, ((shade[:3] + 0.055) / 1.055) ** 2.4)
    luminance = float(rgb @ [0.2126, 0.7152, 0.0722])
    ratio = 1.05 / (luminance + 0.05) if _ink_on(shade) == "white" else (luminance + 0.05) / 0.05
    assert ratio >= 4.5


def test_up_to_seven_classes_have_different_colors() -> None:
    for classes in range(1, 8):
        assert len(set(class_colors(classes))) == classes
    assert len(class_colors(12)) == 12


def test_imports_do_not_load_matplotlib_and_plots_do_not_load_pyplot() -> None:
    code = (
        "import sys, numpy as np; from pipeline.evaluate import plots, report;"
        "from pipeline.metrics import tally;"
        "assert not {'matplotlib', 'jinja2', 'sklearn', 'torch', 'ray'} & set(sys.modules);"
        "t = tally.Tally.from_probs(np.array([[.9, .1], [.2, .8]], np.float32), np.array([0, 1]));"
        "plots.draw_roc(t, ['a', 'b']); plots.draw_confusion(t, ['a', 'b']);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_names_that_look_like_formulas_are_drawn(draw: Draw) -> None:
    formulas = ["$", "$x_$", r"$\frac{1}$", "a name with several words"]
    assert draw(make(4), formulas).startswith(b"\x89PNG")
