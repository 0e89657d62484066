"""What is drawn; that it is drawn at all, and always the same, is in test_pictures_and_page.py."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest

from pipeline.evaluate.plots import _ink_on, _percent, draw_confusion, draw_roc
from pipeline.metrics.tally import Tally
from pipeline.plotstyle import class_colors


def make(classes: int) -> Tally:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 300)
    probs = 0.5 * rng.dirichlet(np.ones(classes), 300) + 0.5 * np.eye(classes)[labels]
    return Tally.of(probs.astype(np.float32), labels)


@pytest.mark.parametrize("classes", [2, 3, 5, 9])
@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_a_picture_is_1200_pixels_square_and_holds_no_texts(classes: int, draw: object) -> None:
    picture = draw(make(classes), [f"c{i}" for i in range(classes)])  # type: ignore[operator]
    assert struct.unpack(">II", picture[16:24]) == (1200, 1200)
    # A date or a version would make the bytes differ from run to run.
    assert not any(chunk in picture for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME"))


@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_other_rows_give_another_picture(draw: object) -> None:
    names = ["a", "b", "c"]
    other = make(3).merge(make(3))
    assert draw(make(3), names) != draw(other, names)  # type: ignore[operator]


@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_the_names_are_drawn(draw: object) -> None:
    assert draw(make(2), ["a", "b"]) != draw(make(2), ["a", "x"])  # type: ignore[operator]


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
def test_a_percentage_never_hides_that_there_are_some(count: int, total: int, text: str) -> None:
    assert _percent(count, total) == text


@pytest.mark.parametrize("share", np.linspace(0, 1, 21))
def test_the_text_of_a_cell_can_be_read_on_every_shade(share: float) -> None:
    from matplotlib import colormaps

    shade = np.array(colormaps["Blues"](share))
    rgb = np.where(shade[:3] <= 0.04045, shade[:3] / 12.92, ((shade[:3] + 0.055) / 1.055) ** 2.4)
    luminance = float(rgb @ [0.2126, 0.7152, 0.0722])
    ratio = 1.05 / (luminance + 0.05) if _ink_on(shade) == "white" else (luminance + 0.05) / 0.05
    assert ratio >= 4.5


def test_up_to_seven_classes_have_different_colours() -> None:
    for classes in range(1, 8):
        assert len(set(class_colors(classes))) == classes
    assert len(class_colors(12)) == 12


def test_importing_loads_no_matplotlib_and_drawing_no_pyplot() -> None:
    code = (
        "import sys, numpy as np; from pipeline.evaluate import plots, report;"
        "from pipeline.metrics import tally;"
        "assert not {'matplotlib', 'jinja2', 'sklearn', 'torch', 'ray'} & set(sys.modules);"
        "t = tally.Tally.of(np.array([[.9, .1], [.2, .8]], np.float32), np.array([0, 1]));"
        "plots.draw_roc(t, ['a', 'b']); plots.draw_confusion(t, ['a', 'b']);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_names_that_look_like_formulas_are_drawn(draw: object) -> None:
    names = ["$", "$x_$", r"$\frac{1}$", "a name of a good many words"]
    assert draw(make(4), names).startswith(b"\x89PNG")  # type: ignore[operator]
