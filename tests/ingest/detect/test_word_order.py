"""Order of labels that are words."""

from __future__ import annotations

import random

import pytest

from pipeline.ingest.detect.word_order import in_order


@pytest.mark.parametrize(
    "words",
    [
        ["negative", "neutral", "positive"],
        ["neg", "pos"],
        ["Very bad", "Bad", "OK", "Good", "Very_Good", "Excellent"],
        ["strongly disagree", "disagree", "neutral", "agree", "strongly agree"],
        ["Not Recommended", "Recommended"],
        ["star-rating-1", "star-rating-2", "star-rating-10"],
        ["width: 20%", "width: 60%", "width: 100%"],
        ["one", "Two", "three stars"],
        ["-1", "0", "1"],
        ["a 1,5", "a 2", "a 2.5"],
    ],
)
def test_labels_are_sorted_from_the_worst_to_the_best(words: list[str]) -> None:
    mixed = random.Random(1).sample(words, len(words))
    assert in_order(mixed) == words


@pytest.mark.parametrize(
    "words", [["toys", "books"], ["good", "toys", "bad"], ["a-1", "b-1"], ["5", "five"], []]
)
def test_labels_without_an_order_are_left_as_they_are(words: list[str]) -> None:
    assert in_order(words) == words
