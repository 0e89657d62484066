"""Plots and HTML page: valid, reproducible, and consistent with the metrics."""

from __future__ import annotations

import struct
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.evaluate.plots import draw_confusion, draw_roc
from pipeline.evaluate.report import metrics_table, render_report
from pipeline.metrics.tally import Tally, compute_metrics


@pytest.fixture(params=[2, 3, 5])
def tally(request: pytest.FixtureRequest) -> Tally:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, request.param, 400)
    probs = rng.dirichlet(np.ones(request.param), 400) * 0.5 + 0.5 * np.eye(request.param)[labels]
    return Tally.from_probs(probs.astype(np.float32), labels)


def names(tally: Tally) -> list[str]:
    return [f"<class {i}>" for i in range(len(tally.classes))]


@pytest.mark.parametrize("draw", [draw_roc, draw_confusion])
def test_plots_are_reproducible_png_images(tally: Tally, draw: object) -> None:
    image = draw(tally, names(tally))  # type: ignore[operator]
    assert image.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", image[16:24])
    assert min(width, height) >= 600
    assert image == draw(tally, names(tally))  # type: ignore[operator]


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


def test_page_contains_all_metrics_and_is_self_contained(tally: Tally) -> None:
    metrics = compute_metrics(tally, names(tally), ordered=True)
    images = {"roc.png": draw_roc(tally, names(tally)), "confusion.png": draw_confusion(tally, names(tally))}
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
