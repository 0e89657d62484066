"""Label schemes: the classes of star ratings, and ratings without a class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingError
from pipeline.ingest.clean.labels import UNLABELED, is_valid_stars, label_scheme

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


@given(
    name=st.sampled_from(["stars", "sentiment", "binary"]),
    stars=st.lists(st.one_of(st.floats(width=32), st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])), max_size=20),
)
def test_only_whole_stars_from_1_to_5_have_a_class(name: str, stars: list[float]) -> None:
    scheme, array = label_scheme(name), np.array(stars, np.float32)
    valid = [s in (1, 2, 3, 4, 5) for s in stars]
    assert is_valid_stars(array).tolist() == valid
    expected = [
        scheme.class_of_stars[int(s) - 1] if ok else UNLABELED for s, ok in zip(stars, valid, strict=True)
    ]
    assert scheme.encode(array).tolist() == expected


def test_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"labels\.scheme=ternary: .*stars, sentiment, binary"):
        label_scheme("ternary")
