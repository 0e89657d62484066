"""Spellings of ratings, and their mapping to the axis of 1 to 5 stars."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.parse.columns import star_array
from pipeline.ingest.parse.stars import RatingRule, advice, read_rating
from pipeline.scale import Scale

SPELLINGS = [
    ("4", 4, None),
    (" 4.0 ", 4, None),
    ("4.50", 4.5, None),
    (".5", 0.5, None),
    ("-1", -1, None),
    ("+1", 1, None),
    ("4e0", 4, None),
    ("4,0", 4, None),
    ("3,5", 3.5, None),
    ("4/5", 4, 5),
    ("4 / 5", 4, 5),
    ("4,5/5", 4.5, 5),
    ("8/10", 8, 10),
    ("5.0 out of 5 stars", 5, 5),
    ("5.0 OUT OF 5", 5, 5),
    ("Rated 4.0 out of 5", 4, 5),
    ("Rated 4.0 out of 5 stars.", 4, 5),
    ("Rating: 4/5", 4, 5),
    ("4 of 5", 4, 5),
    ("4 stars out of 5", 4, 5),
    ("5,0 von 5 Sternen", 5, 5),
    ("5,0 sur 5\u00a0étoiles", 5, 5),
    ("4,0 de 5 estrellas", 4, 5),
    ("4,0 de 5 estrelas", 4, 5),
    ("1,0 su 5 stelle", 1, 5),
    ("3,0 van 5 sterren", 3, 5),
    ("5つ星のうち4.0", 4, 5),
    ("4 stars", 4, None),
    ("1 star", 1, None),
    ("4-star", 4, None),
    ("4.0 star rating", 4, None),
    ("Four stars", 4, None),
    ("4★", 4, None),
    ("★ 4.5", 4.5, None),
    ("80%", 80, 100),
    ("★★★★☆", 4, 5),
    ("★★★★★", 5, None),
    ("★ ★ ★ ☆ ☆", 3, 5),
    ("⭐⭐⭐", 3, None),
    ("⭐️⭐️", 2, None),
    ("★★★½", 3.5, None),
    ("★★½☆☆", 2.5, 5),
    ("☆☆☆☆☆", 0, 5),
]


@pytest.mark.parametrize(("text", "value", "out_of"), SPELLINGS)
def test_every_spelling_is_read(text: str, value: float, out_of: float | None) -> None:
    assert read_rating(text) == (value, out_of)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "good",
            "nan",
            "inf",
            "1_0",
            "3,500",
            "4-5 stars",
            "4/5/2012",
            "5 points",
            "5 stars!",
            "☆★",
        ),
        *("☆★", "4 out of", "fourth", "true", "4.0.1", "4★4", "out of 5", "x" * 100_000, "9" * 100_000),
    ],
)
def test_anything_else_is_no_rating(text: str) -> None:
    assert read_rating(text) is None


@given(st.text(max_size=12))
def test_any_text_is_a_finite_rating_or_none(text: str) -> None:
    rating = read_rating(text)
    assert rating is None or math.isfinite(rating.value)


def test_a_rating_out_of_another_number_is_not_on_the_scale() -> None:
    values = ["4/5", "8/10", "4/10", "★★★★☆", "★★★☆", "80%"]
    stars = star_array(values).to_pylist()
    assert [None if math.isnan(s) else s for s in stars] == [4, None, None, 4, None, None]
    rule = RatingRule(Scale(0, 10))
    stars = star_array(values, rule).to_pylist()
    assert [None if math.isnan(s) else round(s, 4) for s in stars] == [None, 4.2, 2.6, None, None, None]
    assert advice("8/10") == "out of 10: set labels.scale=1-10"
    assert advice("80%") == "out of 100: set labels.scale=0-100"


def test_half_stars_are_kept_and_other_fractions_are_not_ratings() -> None:
    stars = star_array([1, 1.5, 4.5, "4,5", "★★★½", 5.0, None, ""])
    assert stars.to_pylist() == [1, 1.5, 4.5, 4.5, 3.5, 5, None, None]
    assert stars.type == pa.float32()
    assert all(map(math.isnan, star_array([4.37, "4.37"]).to_pylist()))
    assert star_array([4.25], RatingRule(Scale(1, 5))).to_pylist() == [4.25]


def test_booleans_are_not_ratings() -> None:
    assert math.isnan(star_array([True, "4"]).to_pylist()[0])


def test_values_that_mean_not_rated_are_not_ratings() -> None:
    rule = RatingRule(Scale(0, 10), ("0", "N/A", "-1"))
    for values in ([0, 5, -1], ["0", "5", "-1.0"], ["0/10", "5/10", "n/a "]):
        first, five, last = star_array(values, rule).to_pylist()
        assert (math.isnan(first), five, math.isnan(last)) == (True, 3, True)
    assert [rule.is_unrated(w) for w in ("0", "0.0", "0/10", "N/A", "n/a", "-1", "1", "x", None)] == [
        *[True] * 6,
        *[False] * 3,
    ]
    assert not RatingRule().is_unrated("0")
