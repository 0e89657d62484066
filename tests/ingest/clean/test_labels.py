"""Label schemes: the classes of star ratings, and ratings without a class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingError
from pipeline.ingest.clean.labels import UNLABELED, is_valid_stars, label_scheme, nearest_stars

STARS = np.array([1, 2, 3, 4, 5], np.float32)


@pytest.mark.parametrize(
    ("name", "labels", "classes"),
    [
        ("stars", ("1", "2", "3", "4", "5"), [0, 1, 2, 3, 4]),
        ("sentiment", ("negative", "neutral", "positive"), [0, 0, 1, 2, 2]),
        ("binary", ("negative", "positive"), [0, 0, UNLABELED, 1, 1]),
    ],
)
def test_classes_of_each_scheme(name: str, labels: tuple[str, ...], classes: list[int]) -> None:
    scheme = label_scheme(name)
    encoded = scheme.encode(STARS)
    assert scheme.name == name
    assert scheme.labels == labels
    assert encoded.tolist() == classes
    assert encoded.dtype == np.int32
    # Classes are in ascending order of stars.
    kept = [c for c in classes if c != UNLABELED]
    assert kept == sorted(kept)
    assert set(kept) == set(range(len(labels)))


@pytest.mark.parametrize("name", ["stars", "sentiment", "binary"])
def test_rule_agrees_with_encode(name: str) -> None:
    scheme = label_scheme(name)
    for stars, label in scheme.rule().items():
        (encoded,) = scheme.encode(np.array([stars], np.float32))
        assert label == (None if encoded == UNLABELED else scheme.labels[encoded])


EXPECTED = {"stars": (0, 1, 2, 3, 4), "sentiment": (0, 0, 1, 2, 2)}


@given(
    name=st.sampled_from(["stars", "sentiment"]),
    stars=st.lists(st.one_of(st.floats(width=32), st.floats(1, 5, width=32)), max_size=20),
)
def test_every_rating_from_1_to_5_has_the_class_of_the_nearest_stars(name: str, stars: list[float]) -> None:
    scheme, array = label_scheme(name), np.array(stars, np.float32)
    valid = [1 <= s <= 5 for s in stars]
    assert is_valid_stars(array).tolist() == valid
    whole = [int(np.floor(s + np.float32(0.5))) if ok else 0 for s, ok in zip(array, valid, strict=True)]
    assert nearest_stars(np.where(valid, array, np.nan).astype(np.float32)).tolist() == whole
    expected = [EXPECTED[name][n - 1] if ok else UNLABELED for n, ok in zip(whole, valid, strict=True)]
    assert scheme.encode(array).tolist() == expected


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("stars", [0, 1, 1, 2, 2, 3, 3, 4, 4]),
        ("sentiment", [0, 0, 0, 1, 1, 2, 2, 2, 2]),
        ("binary", [0, 0, 0, 0, UNLABELED, 1, 1, 1, 1]),
    ],
)
def test_classes_of_half_stars(name: str, labels: list[int]) -> None:
    halves = np.arange(1, 5.5, 0.5, dtype=np.float32)
    assert label_scheme(name).encode(halves).tolist() == labels


@given(st.lists(st.floats(width=32), max_size=20))
def test_binary_drops_the_middle_fifth_without_its_ends(stars: list[float]) -> None:
    stars = [*stars, *map(float, np.float32([2.6, 3.4]))]
    low, high = float(np.float32(2.6)), float(np.float32(3.4))
    expected = [0 if 1 <= s <= low else 1 if high <= s <= 5 else UNLABELED for s in stars]
    assert label_scheme("binary").encode(np.array(stars, np.float32)).tolist() == expected


def test_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"labels\.scheme=ternary: .*stars, sentiment, binary"):
        label_scheme("ternary")
