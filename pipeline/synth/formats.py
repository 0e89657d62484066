"""Fields of synthetic reviews in the formats of the 2014, 2018 and 2023 Amazon dumps.

Each generation has its own field names and text conventions: 2014 and 2018 lack non-ASCII characters, 2014
encodes quotes as HTML entities, 2018 contains links to products, and 2023 encodes line ends as `<br />`.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from typing import Any

from pipeline.synth.reviews import Review

Fields = dict[str, Any]

_DAY_S = 86_400
# Days since 1970: first, and end (exclusive).
_DAYS_2014 = (10_957, 16_274)  # 2000 to July 2014
_DAYS_2018 = (12_418, 17_806)  # 2004 to autumn 2018
_DAYS_2023 = (12_784, 19_614)  # 2005 to September 2023
# Fractions of the rows, selected by `Review.oddity`, which is uniform in [0, 1).
_NO_NAME_FRAC_2014 = 0.002
_LINK_FRAC_2018 = 0.0015
_VIDEO_FRAC_2023 = 0.003
_NBSP_FRAC_2023 = 0.01
_IMAGE_URL = "https://images-na.ssl-images-amazon.com/images/I/"


def fields_2014(review: Review) -> Fields:
    """Fields of a 2014 line: `helpful` is [positive votes, all votes], a missing text is an empty string."""
    second = _second(review, _DAYS_2014) // _DAY_S * _DAY_S
    fields = {
        "reviewerID": review.user_id,
        "asin": review.asin,
        "reviewerName": review.user_name,
        "helpful": [review.votes, review.votes + review.downvotes],
        "reviewText": _text_2014(review),
        "overall": float(review.stars),
        "summary": _ascii(review.summary or ""),
        "unixReviewTime": second,
        "reviewTime": _us_date(second),
    }
    if review.oddity < _NO_NAME_FRAC_2014 or review.user_name is None:
        del fields["reviewerName"]
    return fields


def fields_2018(review: Review) -> Fields:
    """Fields of a 2018 line: keys without a value are missing, never null; votes are strings as "1,234"."""
    second = _second(review, _DAYS_2018) // _DAY_S * _DAY_S
    fields = {
        "overall": float(review.stars),
        "vote": f"{review.votes:,}" if review.votes > 1 else None,
        "verified": review.verified,
        "reviewTime": _us_date(second),
        "reviewerID": review.user_id,
        "asin": review.asin,
        "style": review.style,
        "reviewerName": review.user_name,
        "reviewText": _text_2018(review),
        "summary": None if review.summary is None else _ascii(review.summary),
        "unixReviewTime": second,
        "image": [f"{_IMAGE_URL}{name}._SY88.jpg" for name in _image_names(review)] or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def fields_2023(review: Review) -> Fields:
    """Fields of a 2023 line: all keys exist ("" without text or title, [] without images); time is in ms."""
    images = [
        {
            "small_image_url": f"{_IMAGE_URL}{name}._SL256_.jpg",
            "medium_image_url": f"{_IMAGE_URL}{name}._SL800_.jpg",
            "large_image_url": f"{_IMAGE_URL}{name}._SL1600_.jpg",
            "attachment_type": "IMAGE",
        }
        for name in _image_names(review)
    ]
    return {
        "rating": float(review.stars),
        "title": review.summary or "",
        "text": _text_2023(review),
        "images": images,
        "asin": review.asin,
        "parent_asin": review.parent_asin,
        "user_id": "A" + _letters(review.user_id, 27),
        "timestamp": _second(review, _DAYS_2023) * 1000 + int(review.oddity * 1e6) % 1000,
        "helpful_vote": review.votes,
        "verified_purchase": review.verified,
    }


FORMATS: dict[str, Callable[[Review], Fields]] = {
    "2014": fields_2014,
    "2018": fields_2018,
    "2023": fields_2023,
}
"""Generation of the dumps → function from a review to its fields."""

TEXT_FIELDS = {
    "2014": ("reviewText", "summary"),
    "2018": ("reviewText", "summary"),
    "2023": ("text", "title"),
}
"""Generation → names of the text and the summary field."""

STARS_FIELD = {"2014": "overall", "2018": "overall", "2023": "rating"}


def _text_2014(review: Review) -> str:
    text = " ".join(_ascii(review.text or "").split())
    quote = "&#34;" if review.oddity < 0.5 else "&quot;"
    return text.replace("&", "&amp;").replace('"', quote)


def _text_2018(review: Review) -> str | None:
    text = review.text
    if not text:
        return text
    if not text.isascii():
        text = _ascii(text)
    if review.oddity < _LINK_FRAC_2018:
        link = f'<a data-hook="product-link-linked" class="a-link-normal" href="/dp/{review.asin}">'
        text = f"{text}&nbsp;{link}{review.summary or review.asin}</a>"
    return text


def _text_2023(review: Review) -> str:
    text = (review.text or "").replace("\n", "<br />")
    if review.oddity < _VIDEO_FRAC_2023:
        return f"[[VIDEOID:{_letters(review.user_id, 32).lower()}]] {text}"
    if review.oddity < _NBSP_FRAC_2023:
        return text.replace("  ", "&nbsp; ").replace(" & ", " &amp; ")
    return text


def _ascii(text: str) -> str:
    """Text without non-ASCII characters, as in the old dumps; typographic apostrophes are replaced."""
    return text.replace("\u2019", "'").encode("ascii", "ignore").decode("ascii").rstrip(" ")


def _second(review: Review, days: tuple[int, int]) -> int:
    """Seconds since 1970; the square root makes later times more frequent, as in real dumps."""
    first, stop = days
    return int((first + review.time_frac**0.5 * (stop - first)) * _DAY_S)


def _us_date(second: int) -> str:
    day = time.gmtime(second)
    return f"{day.tm_mon:02d} {day.tm_mday}, {day.tm_year}"


def _image_names(review: Review) -> list[str]:
    return [f"71{_letters(f'{review.user_id}/{at}', 9)}" for at in range(review.images)]


def _letters(text: str, length: int) -> str:
    """Pseudorandom capital letters and digits, determined by the text; length at most 51."""
    digest = hashlib.blake2b(text.encode(), digest_size=32).digest()
    return base64.b32encode(digest)[:length].decode("ascii")
