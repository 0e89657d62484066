"""Rating scales: their names, and the mapping to the axis of 1 to 5 stars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import LabelsConfig
from pipeline.errors import SettingError
from pipeline.scale import DEFAULT_SCALE, Scale
from pipeline.settings import load_config

ENDS = st.one_of(st.integers(-1000, 1000), st.floats(-100, 100).map(lambda x: round(x, 3))).map(float)


@pytest.mark.parametrize(
    ("name", "low", "high", "shown"),
    [
        ("0-4", 0, 4, "0-4"),
        ("1-10", 1, 10, "1-10"),
        ("-1-1", -1, 1, "-1-1"),
        ("-2--1", -2, -1, "-2--1"),
        ("0.5-5", 0.5, 5, "0.5-5"),
        (" 10 - 50 ", 10, 50, "10-50"),
        ("0–4", 0, 4, "0-4"),
        ("−1–1", -1, 1, "-1-1"),
        ("0.0-1.0", 0, 1, "0-1"),
    ],
)
def test_a_scale_is_named_by_its_ends(name: str, low: float, high: float, shown: str) -> None:
    scale = Scale.parse(name)
    assert (scale.low, scale.high, str(scale)) == (low, high, shown)
    assert load_config(None, [f"labels.scale={name}"]).labels.scale == shown


@pytest.mark.parametrize("name", ["5-1", "3-3", "5", "1-", "-5", "a-b", "1-5-9", "1..5", "nan-inf"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match=r"labels\.scale=.*(LOW-HIGH|must be below)"):
        load_config(None, [f"labels.scale={name}"])


@given(low=ENDS, high=ENDS, place=st.floats(0, 1))
def test_stars_follow_the_formula_and_the_ends_are_exact(low: float, high: float, place: float) -> None:
    if low == high:
        return
    low, high = sorted((low, high))
    scale = Scale(low, high)
    assert Scale.parse(str(scale)) == scale
    # The rounded sum can be above the upper end.
    x = min(high, low + place * (high - low))
    stars = scale.to_stars(np.array([low, x, high]))
    assert stars.dtype == np.float32
    assert (stars[0], stars[2]) == (1, 5)
    assert stars[1] == pytest.approx(1 + 4 * (x - low) / (high - low), abs=1e-5)
    assert scale.covers(x)


@given(st.lists(st.floats(), max_size=20))
def test_the_default_scale_keeps_whole_and_half_stars_only(ratings: list[float]) -> None:
    stars = DEFAULT_SCALE.to_stars(np.array(ratings, np.float64))
    with np.errstate(over="ignore"):
        expected = [np.float32(r) if np.isfinite(r) and (2 * r) % 1 == 0 else np.nan for r in ratings]
    np.testing.assert_array_equal(stars, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("name", "ratings", "stars"),
    [
        ("0-4", [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]),
        ("0-1", [0, 1, 0.25], [1, 5, 2]),
        ("1-2", [1, 2], [1, 5]),
        ("-1-1", [-1, 0, 1], [1, 3, 5]),
        ("1-10", [1, 5.5, 10, 4], [1, 3, 5, 1 + 4 / 3]),
        ("10-50", [10, 20, 25, 30, 40, 50], [1, 2, 2.5, 3, 4, 5]),
        ("0-100", [0, 12.5, 40, 60, 100], [1, 1.5, 2.6, 3.4, 5]),
        ("0.5-5", [0.5, 5], [1, 5]),
    ],
)
def test_stars_of_usual_scales(name: str, ratings: list[float], stars: list[float]) -> None:
    assert Scale.parse(name).to_stars(np.array(ratings)).tolist() == np.array(stars, np.float32).tolist()


def test_two_valued_scales_imply_binary() -> None:
    for scale in ("0-1", "1-2", "-1-1"):
        assert load_config(None, [f"labels.scale={scale}"]).labels.scheme == "binary"
        explicit = load_config(None, [f"labels.scale={scale}", "labels.scheme=sentiment"])
        assert explicit.labels.scheme == "sentiment"
    assert load_config(None, ["labels.scale=0-4"]).labels.scheme == "stars"


def test_values_that_mean_not_rated_are_numbers_or_words() -> None:
    assert LabelsConfig.model_validate({"unrated": 0}).unrated == ("0",)
    assert load_config(None, ["labels.unrated=0,N/A"]).labels.unrated == ("0", "N/A")
    assert load_config(None, ["labels.unrated=-1"]).labels.unrated == ("-1",)
    assert load_config(None, ["labels.unrated=[0, 11]"]).labels.unrated == ("0", "11")


@pytest.mark.parametrize("item", ["labels.scale=0-4", "labels.unrated=0"])
def test_words_have_no_scale(item: str) -> None:
    with pytest.raises(SettingError, match=r"is for star ratings, but labels\.scheme is words"):
        load_config(None, ["labels.scheme=words,labels.words=a,b", item])
