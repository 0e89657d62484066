"""Table and HTML page with undefined metrics; test_pictures_and_page.py tests the common case."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from jinja2 import UndefinedError

from pipeline.evaluate.report import metrics_table, render_report
from pipeline.metrics.tally import Tally, compute_metrics

IMAGES = {"roc.png": b"first image", "confusion.png": b"second image"}


def make(*, ordered: bool = True, used: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, used, 200)
    probs = 0.6 * rng.dirichlet(np.ones(3), 200) + 0.4 * np.eye(3)[labels]
    return compute_metrics(
        Tally.from_probs(probs.astype(np.float32), labels), ["a", "b", "c"], ordered=ordered
    )


def test_table_has_the_metrics_of_the_model_and_the_majority_baseline() -> None:
    metrics = make()
    table = {name: (value, majority) for name, value, majority in metrics_table(metrics)}
    assert len(table) == len(metrics_table(metrics))
    for name, key in [("Accuracy", "accuracy"), ("Macro F1", "macro_f1"), ("Macro recall", "macro_recall")]:
        assert table[name] == (f"{metrics[key]:.4f}", f"{metrics['majority'][key]:.4f}")
    assert table["ROC AUC, class b"] == (f"{metrics['roc_auc']['per_class']['b']:.4f}", "0.5000")
    assert table["Log loss"] == (f"{metrics['log_loss']:.4f}", "")
    assert table["Brier score"] == (f"{metrics['brier']:.4f}", "")


def test_undefined_metrics_are_blank() -> None:
    table = {name: rest for name, *rest in metrics_table(make(ordered=False, used=2))}
    assert table["ROC AUC, class c"] == ["", ""]
    assert table["Mean absolute error in classes"] == ["", ""]
    assert table["ROC AUC, class a"][1] == "0.5000"


def test_auc_error_is_shown_only_if_it_is_not_0() -> None:
    metrics = make()
    assert "ROC AUC, maximum error" not in {row[0] for row in metrics_table(metrics)}
    metrics["roc_auc"]["bound"] = 1.234e-6
    assert ("ROC AUC, maximum error", "1.2e-06", "") in metrics_table(metrics)


class Page(HTMLParser):
    """Images and URLs of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.urls: list[str | None] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.urls += [attributes[a] for a in ("src", "href") if a in attributes]
        if tag == "img":
            self.images.append(attributes)


def test_images_are_embedded_with_alternative_texts() -> None:
    page = Page(render_report(make(), title="T", facts={}, images=IMAGES))
    images = [base64.b64decode((i["src"] or "").removeprefix("data:image/png;base64,")) for i in page.images]
    assert images == list(IMAGES.values())
    assert all(image["alt"] for image in page.images)
    assert len(page.urls) == 2


def test_page_escapes_its_values() -> None:
    page = render_report(make(), title="<b>T</b>", facts={"<i>k</i>": "a & b"}, images=IMAGES)
    assert "&lt;b&gt;T&lt;/b&gt;" in page
    assert "<b>T</b>" not in page
    assert "&lt;i&gt;k&lt;/i&gt;" in page
    assert "a &amp; b" in page


def test_page_without_mae_and_auc() -> None:
    page = render_report(make(ordered=False, used=1), title="T", facts={}, images=IMAGES)
    assert "MAE in classes" not in page
    assert "chance: 0.500" not in page
    assert "None" not in page


def test_missing_image_is_an_error() -> None:
    with pytest.raises(UndefinedError, match=r"roc\.png"):
        render_report(make(), title="T", facts={}, images={"confusion.png": b""})


@pytest.mark.parametrize(("rows", "text"), [(1, "1 review"), (1200, "1,200 reviews")])
def test_singular_and_plural(rows: int, text: str) -> None:
    page = render_report(make() | {"rows": rows}, title="T", facts={}, images=IMAGES)
    assert f"<title>T: {text}</title>" in page
    assert f"<p>{text} with a known class" in page
