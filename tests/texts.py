"""Characters for property tests, and texts of every kind."""

from __future__ import annotations

from itertools import cycle, islice

from hypothesis import strategies as st

from pipeline.synth import iter_reviews

UNICODE = st.characters(exclude_categories=["Cs"])
"""All characters that UTF-8 can encode; hypothesis takes seconds to list those of a codec, its default."""

_ODD = (
    "",
    "ok",
    "👍👍🏽 10/10 ❤️",
    "质量很好，推荐购买。 Отличный товар! ممتاز جدا",
    "Très bien ― naïve café, ﬁne ½ price",
    "it works   fine,\twith  many   spaces",
    "a_b ▁ c [SEP] d [PAD] e <s> f",
    "x" * 300,
    "really good and " * 60,
    "¡Qué bien! ÄÖÜß ñ",
)


def odd_texts(count: int) -> list[str]:
    """Texts of every kind: empty, long, emoji, mixed scripts, and reviews between them."""
    reviews = (review.text or "" for review in iter_reviews(5, 0, count))
    odd = cycle(_ODD)
    return [text if n % 2 else next(odd) for n, text in enumerate(islice(reviews, count))]
