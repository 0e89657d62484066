"""Plots and HTML page: valid, reproducible, and consistent with the metrics."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.evaluate.plots import draw_confusion, draw_roc
from pipeline.evaluate.report import metrics_table, render_report
from pipeline.metrics.tally import Tally, compute_metrics

Draw = Callable[[Tally, list[str]], bytes]


@pytest.fixture(params=[2, 3, 5])
def classes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@cache
def tally_of(classes: int) -> Tally:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 400)
    probs = rng.dirichlet(np.ones(classes), 400) * 0.5 + 0.5 * np.eye(classes)[labels]
    return Tally.from_probs(probs.astype(np.float32), labels)


@cache
def drawn(draw: Draw, classes: int) -> bytes:
    """The plot of `tally_of(classes)`; drawing takes long."""
    return draw(tally_of(classes), names(classes))


def names(classes: int) -> list[str]:
    return [f"<class {i}>" for i in range(classes)]


@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_plots_are_reproducible_png_images(classes: int, draw: Draw) -> None:
    image = drawn(draw, classes)
    assert image.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", image[16:24])
    assert min(width, height) >= 600
    assert image == draw(tally_of(classes), names(classes))


def test_class_without_rows_has_no_curve() -> None:
    labels = np.array([0, 1, 0, 1])
    probs = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.4, 0.5, 0.1], [0.5, 0.4, 0.1]], np.float32)
    assert draw_roc(Tally.from_probs(probs, labels), ["a", "b", "c"]).startswith(b"\x89PNG")


class Texts(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_page_contains_all_metrics_and_is_self_contained(classes: int) -> None:
    metrics = compute_metrics(tally_of(classes), names(classes), ordered=True)
    images = {"roc.png": drawn(draw_roc, classes), "confusion.png": drawn(draw_confusion, classes)}
    page = render_report(metrics, title="T", facts={"Model": "<script>alert(1)</script>"}, images=images)
    parsed = Texts(page)
    for name, value, majority in metrics_table(metrics):
        assert name in parsed.words
        assert value in parsed.words
        assert not majority or majority in parsed.words
    assert "script" not in parsed.tags
    assert parsed.tags.count("img") == 2
    assert "http" not in page
    assert f"{metrics['accuracy']:.3f}" in parsed.words
