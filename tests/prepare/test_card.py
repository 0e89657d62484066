"""The data card: its sentences match its numbers, and its plots are legible for any labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipeline import plotstyle
from pipeline.details import PrepareDetails
from pipeline.humanize import counted
from pipeline.prepare.card import render_card
from pipeline.prepare.card_plots import draw_lengths, draw_stars
from pipeline.prepare.split import SPLITS

ODD = ("$", "$$", "$$$", "a|b", "\\", "\\|", "two\nlines", "x_1^2", "$\\frac{1}$")
MANY = tuple(f"Sports and outdoors {i}" for i in range(12))


def card(labels: tuple[str, ...], lengths: dict[int, int] | None = None) -> PrepareDetails:
    lengths = lengths or dict.fromkeys(range(5, 80), 10)
    rows = sum(lengths.values())
    counts = {n: k + 1 for k, n in enumerate(labels)}
    return PrepareDetails(
        labels=list(labels),
        formats={},
        lines=rows + 3,
        rows=rows,
        rejected={"duplicate": 2, "bad_json": 1},
        rows_by_label={s: {n: i * k for n, k in counts.items()} for i, s in enumerate(SPLITS, 1)},
        rows_by_stars={s: {str(n): 0 for n in range(1, 6)} for s in SPLITS},
        tokens=1,
        length_quantiles={"0.5": 30, "1": 79},
        length_histogram={str(n): count for n, count in lengths.items()},
        max_length=64,
        truncated_rows=1,
        truncated_frac=0.01,
        cut_tokens=1,
        cut_tokens_frac=0.01,
        texts=9,
        repeated_rows=1,
        most_repeats=2,
        texts_with_conflicting_stars=0,
        texts_in_several_splits=0,
        random_split_leak_frac=0.1,
        first_day=None,
        last_day=None,
        split_by="text",
        rows_without_key=0,
        broken=[],
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures in the order in which they were drawn."""
    found: list[Figure] = []
    to_png = plotstyle.to_png

    def keep(figure: Figure) -> bytes:
        found.append(figure)
        return to_png(figure)

    monkeypatch.setattr(plotstyle, "to_png", keep)
    return found


def overlap(texts: list[Any]) -> bool:
    boxes = [t.get_window_extent() for t in texts]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


FEW = (("neg", "pos"), tuple("12345"), tuple("abcdefghijkl"))
LONG = ("x" * 300, "y z " * 90)


@pytest.mark.parametrize("labels", [ODD, MANY, *FEW, LONG])
def test_labels_of_every_kind_do_not_overlap(labels: tuple[str, ...], drawn: list[Figure]) -> None:
    assert draw_stars(card(labels)).startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    by_name = axes.yaxis if axes.get_ylabel() == "Classes" else axes.xaxis
    names = by_name.get_ticklabels()
    assert [n.get_text() for n in names] == [plotstyle.display_name(label) for label in labels]
    assert not overlap(names)
    assert all(drawn[0].bbox.contains(*corner) for n in names for corner in n.get_window_extent().corners())


def test_dollar_signs_are_escaped_and_long_names_are_cut() -> None:
    assert plotstyle.display_name("$x$") == r"\$x\$"
    assert plotstyle.display_name("a\x07b") == "a b"
    lines = plotstyle.display_name("word " * 50).split("\n")
    assert [len(line) <= 24 for line in lines] == [True, True]
    assert lines[1].endswith("…")


def cells(row: str) -> list[str]:
    """The cells of a row of a Markdown table, unescaped."""
    found, at = [""], 0
    while at < len(row):
        if row[at] == "\\":
            found[-1] += row[at + 1]
            at += 1
        elif row[at] == "|":
            found.append("")
        else:
            found[-1] += row[at]
        at += 1
    return [cell.strip() for cell in found[1:-1]]


def test_label_with_special_characters_is_one_table_cell() -> None:
    page = render_card(card(ODD))
    start = page.index("| --- |")
    table = [cells(line) for line in page[start:].split("\n\n")[0].split("\n")[1:]]
    assert [row[0] for row in table] == [*(" ".join(n.split()) for n in ODD), "all"]
    assert all(len(row) == 5 for row in table)


def with_all(number: int) -> PrepareDetails:
    """A card in which all counts are equal."""
    names = ["lines", "rows", "truncated_rows", "cut_tokens", "texts", "repeated_rows", "most_repeats"]
    names += ["texts_with_conflicting_stars", "texts_in_several_splits", "rows_without_key"]
    return card(("a", "b")).model_copy(update=dict.fromkeys(names, number))


@pytest.mark.parametrize(
    ("number", "sentences"),
    [
        (
            1,
            [
                "1 line, 1 review kept.",
                "by text; 1 review without one, repeated ones included, is split by text.",
                "1 text is in more than one split",
                "1 review (1.00%) is longer than tokenize.max_length=64",
                "1 token (1.00%) was cut.",
                "1 distinct text; 1 review repeats an earlier one, and the most frequent text occurs 1 time."
                " 1 text has different stars or classes.",
            ],
        ),
        (
            1200,
            [
                "1,200 lines, 1,200 reviews kept.",
                "1,200 reviews without one, repeated ones included, are split by text.",
                "1,200 texts are in more than one split",
                "1,200 reviews (1.00%) are longer than tokenize.max_length=64",
                "1,200 tokens (1.00%) were cut.",
                "1,200 distinct texts; 1,200 reviews repeat an earlier one, and the most frequent text occurs"
                " 1,200 times. 1,200 texts have different stars or classes.",
            ],
        ),
    ],
)
def test_counted_nouns_agree_with_their_numbers(
    number: int, sentences: list[str], drawn: list[Figure]
) -> None:
    page = render_card(with_all(number))
    assert [s for s in sentences if s not in page] == []
    assert not re.search(r"\b1 (distinct )?(lines|reviews|texts|tokens|times|are|were|have)\b", page)
    draw_stars(with_all(number))
    (axes,) = drawn[0].axes
    assert [t.get_text() for t in axes.texts] == [f"{counted(number, 'review')}; shares within each split"]


def test_uniform_lengths_give_bars_of_equal_height(drawn: list[Figure]) -> None:
    draw_lengths(card(("a", "b"), dict.fromkeys(range(3, 1000), 100)))
    (axes,) = drawn[0].axes
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert np.allclose(heights, 100)
    assert len(heights) > 25
