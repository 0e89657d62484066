"""Synthetic reviews in the formats of the 2014, 2018 and 2023 dumps: fields, types and frequencies."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from pipeline.synth import FORMATS, Review, iter_reviews

ROWS = 12_000
Rows = dict[str, list[dict[str, Any]]]

FIELDS: dict[str, dict[str, type]] = {
    "2014": {
        "reviewerID": str,
        "asin": str,
        "reviewerName": str,
        "helpful": list,
        "reviewText": str,
        "overall": float,
        "summary": str,
        "unixReviewTime": int,
        "reviewTime": str,
    },
    "2018": {
        "overall": float,
        "vote": str,
        "verified": bool,
        "reviewTime": str,
        "reviewerID": str,
        "asin": str,
        "style": dict,
        "reviewerName": str,
        "reviewText": str,
        "summary": str,
        "unixReviewTime": int,
        "image": list,
    },
    "2023": {
        "rating": float,
        "title": str,
        "text": str,
        "images": list,
        "asin": str,
        "parent_asin": str,
        "user_id": str,
        "timestamp": int,
        "helpful_vote": int,
        "verified_purchase": bool,
    },
}
OPTIONAL = {
    "2014": {"reviewerName"},
    "2018": {"vote", "style", "reviewerName", "reviewText", "summary", "image"},
    "2023": set(),
}
YEARS = {"2014": (2000, 2014), "2018": (2004, 2018), "2023": (2005, 2023)}
# Fractions of the rows that have an optional field, counted in the 2018 fashion dump.
SHARES_2018 = {"vote": 0.09, "style": 0.345, "image": 0.033}


@pytest.fixture(scope="module")
def reviews() -> list[Review]:
    return list(iter_reviews(seed=0, start=0, stop=ROWS))


@pytest.fixture(scope="module")
def rows(reviews: list[Review]) -> Rows:
    return {fmt: [json.loads(json.dumps(of(r))) for r in reviews] for fmt, of in FORMATS.items()}


@pytest.mark.parametrize("fmt", FIELDS)
def test_names_types_and_order_of_fields(rows: Rows, fmt: str) -> None:
    expected = FIELDS[fmt]
    counts: Counter[str] = Counter()
    for row in rows[fmt]:
        assert list(row) == [name for name in expected if name in row]
        assert {name: type(value) for name, value in row.items()} == {name: expected[name] for name in row}
        counts.update(row.keys())
    assert {name for name in expected if counts[name] < ROWS} == OPTIONAL[fmt]
    assert all(counts[name] > 0 for name in expected)


def test_frequency_of_optional_fields(rows: Rows) -> None:
    counts = Counter(name for row in rows["2018"] for name in row)
    assert {n: counts[n] / ROWS for n in SHARES_2018} == pytest.approx(SHARES_2018, rel=0.2)
    names = sum("reviewerName" not in row for row in rows["2014"]) / ROWS
    assert 0.001 < names < 0.02


@pytest.mark.parametrize("fmt", FIELDS)
def test_format_of_ids_and_stars(rows: Rows, fmt: str) -> None:
    user, stars = ("user_id", "rating") if fmt == "2023" else ("reviewerID", "overall")
    length = 27 if fmt == "2023" else 12
    for row in rows[fmt][:4_000]:
        assert row[stars] in (1.0, 2.0, 3.0, 4.0, 5.0)
        assert re.fullmatch(r"B0[0-9A-Z]{8}", row["asin"])
        assert re.fullmatch(rf"A[0-9A-Z]{{{length}}}", row[user])


@pytest.mark.parametrize("fmt", FIELDS)
def test_times_are_in_the_years_of_the_dump(rows: Rows, fmt: str) -> None:
    name, unit = ("timestamp", 1000) if fmt == "2023" else ("unixReviewTime", 1)
    times = [row[name] for row in rows[fmt]]
    years = [
        datetime.datetime.fromtimestamp(t / unit, datetime.timezone.utc).year
        for t in (min(times), max(times))
    ]
    assert tuple(years) == YEARS[fmt]


def test_date_strings_agree_with_the_times(rows: Rows) -> None:
    for fmt in ("2014", "2018"):
        days = np.array([row["unixReviewTime"] for row in rows[fmt][:2_000]], dtype="datetime64[s]")
        for row, day in zip(rows[fmt], days.astype("datetime64[D]").astype(object), strict=False):
            assert row["unixReviewTime"] % 86_400 == 0
            assert row["reviewTime"] == f"{day.month:02d} {day.day}, {day.year}"


def test_2023_times_have_milliseconds(rows: Rows) -> None:
    assert np.mean([row["timestamp"] % 1000 != 0 for row in rows["2023"]]) > 0.99
    assert np.mean([row["timestamp"] % 86_400_000 != 0 for row in rows["2023"]]) > 0.99


def test_format_of_votes(rows: Rows) -> None:
    votes = [row["vote"] for row in rows["2018"] if "vote" in row]
    assert all(re.fullmatch(r"\d{1,3}(,\d{3})*", vote) for vote in votes)
    assert any("," in vote for vote in votes)
    assert min(int(vote.replace(",", "")) for vote in votes) == 2
    assert all(0 <= up <= total for up, total in (row["helpful"] for row in rows["2014"]))
    assert any(up < total for up, total in (row["helpful"] for row in rows["2014"]))
    assert {0, 1, 2} < {row["helpful_vote"] for row in rows["2023"]}


def test_images_are_lists_of_urls(rows: Rows) -> None:
    links = [link for row in rows["2018"] for link in row.get("image", [])]
    assert all(re.fullmatch(r"https://\S+/images/I/\w{11}\._SY88\.jpg", link) for link in links)
    shown = [row["images"] for row in rows["2023"] if row["images"]]
    assert {len(images) for images in shown} == {1, 2, 3}
    assert set(shown[0][0]) == {"small_image_url", "medium_image_url", "large_image_url", "attachment_type"}


def test_style_names_end_with_a_colon(rows: Rows) -> None:
    styles = [row["style"] for row in rows["2018"] if "style" in row]
    assert {name for style in styles for name in style} == {"Size:", "Color:"}
    assert all(value.startswith(" ") for style in styles for value in style.values())


def test_variants_share_a_parent(rows: Rows) -> None:
    parents: dict[str, set[str]] = {}
    for row in rows["2023"]:
        parents.setdefault(row["asin"], set()).add(row["parent_asin"])
    assert {len(asins) for asins in parents.values()} == {1}
    assert len({row["parent_asin"] for row in rows["2023"]}) < len(parents)


def test_each_user_has_one_name(rows: Rows) -> None:
    names: dict[str, set[str | None]] = {}
    for row in rows["2018"]:
        names.setdefault(row["reviewerID"], set()).add(row.get("reviewerName"))
    assert len(names) < ROWS
    assert {len(of_user) for of_user in names.values()} == {1}


def test_missing_texts_are_missing_or_empty(reviews: list[Review], rows: Rows) -> None:
    missing = [at for at, review in enumerate(reviews) if review.text is None]
    assert missing
    for at in missing:
        assert rows["2014"][at]["reviewText"] == ""
        assert "reviewText" not in rows["2018"][at]
        assert rows["2023"][at]["text"] == ""


def share(rows: list[dict[str, Any]], field: str, pattern: str) -> float:
    return sum(bool(re.search(pattern, row.get(field, ""))) for row in rows) / len(rows)


def test_old_dumps_are_ascii(rows: Rows) -> None:
    for fmt, fields in (("2014", ("reviewText", "summary")), ("2018", ("reviewText", "summary"))):
        for field in fields:
            assert share(rows[fmt], field, r"[^\x00-\x7f]") == 0
    assert 0.01 < share(rows["2023"], "text", r"[^\x00-\x7f]") < 0.1
    assert share(rows["2023"], "text", "[\U0001f300-\U0001faff]") > 0.005


def test_markup_of_each_dump(rows: Rows) -> None:
    assert share(rows["2014"], "reviewText", '[\n"]') == 0
    assert 0.02 < share(rows["2014"], "reviewText", r"&(#34|quot|amp);") < 0.15
    assert 0.02 < share(rows["2018"], "reviewText", "\n") < 0.1
    assert 0.0005 < share(rows["2018"], "reviewText", r"&nbsp;<a .*</a>$") < 0.003
    assert share(rows["2023"], "text", "\n") == 0
    assert 0.02 < share(rows["2023"], "text", "<br /><br />") < 0.1
    for rare in (r"&\w+;", r"^\[\[VIDEOID:[0-9a-z]{32}\]\] "):
        assert 0.0005 < share(rows["2023"], "text", rare) < 0.02, rare
