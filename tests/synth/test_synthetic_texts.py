"""Synthetic texts: repetitions, typing styles, plurals, and the open vocabulary."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from pipeline.synth import Review, iter_reviews
from pipeline.synth.clauses import PLURAL_TOPICS, TOPICS
from pipeline.synth.texts import draw_texts, heavy_ranks
from pipeline.synth.vocabulary import ORDINARY, mistype, open_word, plural


@pytest.fixture(scope="module")
def reviews() -> list[Review]:
    return list(iter_reviews(seed=0, start=0, stop=20_000))


@pytest.fixture(scope="module")
def texts(reviews: list[Review]) -> list[str]:
    return [review.text or "" for review in reviews]


def test_reviews_are_repeated_for_other_products(reviews: list[Review]) -> None:
    long = [review for review in reviews if len((review.text or "").split()) > 15]
    authors: dict[str | None, set[tuple[str, float, int]]] = {}
    for review in long:
        authors.setdefault(review.text, set()).add((review.user_id, review.time_frac, review.stars))
    assert np.mean([len(same) == 1 for same in authors.values()]) > 0.999
    assert len({(review.text, review.asin) for review in long}) > 0.98 * len(long)


def test_number_of_missing_texts_depends_only_on_the_length_of_the_dump() -> None:
    for seed in range(3):
        missing = sum(not review.text for review in iter_reviews(seed, 0, 10_240))
        assert missing == 12  # 0.0012 of them


def test_all_slots_are_filled(texts: list[str]) -> None:
    assert not [text for text in texts if re.search(r"[{}_]", text)]


def test_typing_styles_have_realistic_frequencies(texts: list[str]) -> None:
    def share(pattern: str) -> float:
        return sum(bool(re.search(pattern, text)) for text in texts) / len(texts)

    # Fractions in the real fashion file: 0.22, 0.73, 0.058, 0.10, 0.23, 0.045, 0.21.
    assert 0.17 < share("!") < 0.27
    assert 0.6 < share(r"[.!?]\s*$") < 0.85
    assert 0.045 < share("\n") < 0.07
    assert 0.08 < share("^[a-z]") < 0.12
    assert 0.18 < share("  ") < 0.28
    assert 0.035 < share(r"\.\.\.") < 0.06
    assert 0.17 < share(r"\d") < 0.25
    assert 0.03 < share(r" (-|--|&) ") < 0.11
    for rare in (
        "[^\x00-\x7f]",
        "[\U0001f300-\U0001faff]",
        r"^[^a-z]{12,}$",
        "\u2019",
        r"\w/\w",
    ):
        assert 0 < share(rare) < 0.05, rare


def test_every_topic_mood_and_length_has_texts() -> None:
    moods, topics = (grid.ravel() for grid in np.meshgrid(np.arange(5), np.arange(len(TOPICS))))
    for length in (1, 2, 3, 4, 40):
        texts = draw_texts(np.random.default_rng(0), moods, topics, np.full(len(moods), length))
        assert len(texts) == len(moods)
        assert all(text.strip() for text in texts)


def test_products_that_come_in_pairs_are_plural() -> None:
    def share_of_they(topic: int) -> float:
        rows = np.full(500, topic)
        texts = draw_texts(np.random.default_rng(1), np.full(500, 4), rows, np.full(500, 30))
        return sum(bool(re.search(r"\b(they|these|them)\b", text, re.IGNORECASE)) for text in texts) / 500

    pairs = [share_of_they(topic) for topic in PLURAL_TOPICS]
    singles = [share_of_they(topic) for topic in range(len(TOPICS)) if topic not in PLURAL_TOPICS]
    assert min(pairs) > max(singles)


def test_distribution_of_heavy_ranks() -> None:
    ranks = heavy_ranks((np.arange(100_000) + 0.5) / 100_000, scale=10.0, exponent=0.5)
    assert ranks.min() == 0
    for k in (10, 90, 990):
        assert np.mean(ranks >= k) == pytest.approx((10 / (10 + k)) ** 0.5, rel=0.01)
    assert heavy_ranks(np.array([1.0 - 1e-16]), 1e9, 0.1)[0] == 1 << 40


def test_vocabulary_is_unlimited() -> None:
    assert [open_word(rank) for rank in range(3)] == list(ORDINARY[:3])
    assert len(set(ORDINARY)) == len(ORDINARY)
    for start in (10**5, 10**9, 10**12):
        forms = [open_word(rank) for rank in range(start, start + 10_000)]
        assert len(set(forms)) > 8_000
        assert all(form and not re.search(r"\s", form) for form in forms)
        assert any(form.isdigit() for form in forms)
        assert any(form[0].isupper() and form.isalpha() for form in forms)


def test_words_of_adjacent_ranks_are_unrelated() -> None:
    forms = [open_word(rank) for rank in range(10**6, 10**6 + 1_000)]
    assert np.mean([a[:3] == b[:3] for a, b in pairwise(forms)]) < 0.02


def test_typos_affect_only_long_words() -> None:
    assert {mistype("fit", drawn) for drawn in range(1_000)} == {"fit"}
    forms = {mistype("comfortable", drawn) for drawn in range(10_000)}
    assert {"cmfortable", "commfortable", "cofmortable", "cemfortable"} <= forms
    assert len(forms) > 30


def test_plurals_follow_english_spelling() -> None:
    words = ("watch", "dress", "skirt", "box", "jeans", "brush")
    assert [plural(w) for w in words] == ["watches", "dresses", "skirts", "boxes", "jeans", "brushes"]
