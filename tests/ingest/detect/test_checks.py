"""Warnings about the values of columns, and the choice between columns that could hold the stars."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError, ScaleError
from pipeline.ingest.detect.detect import Detection
from pipeline.storage.location import locate
from tests.ingest.detect.test_chosen_columns import detect, jsonl

ROWS = 40


def records(**columns: Any) -> list[dict[str, Any]]:
    """ROWS records; the value of a column is constant, or a function of the number of the record."""
    plain = {"text": lambda n: f"lamp number {n} works", "stars": lambda n: n % 5 + 1}
    fields = {**plain, **columns}
    return [{k: v(n) if callable(v) else v for k, v in fields.items() if v is not None} for n in range(ROWS)]


def found(folder: Path, config: InputConfig | None = None, **columns: Any) -> Detection:
    return detect(jsonl(folder / "a", records(**columns)), config)


def test_plain_reviews_cause_no_warning(tmp_path: Path) -> None:
    texts = ["Good", "5 stars!", "👍👍", "非常好用2", "ok", "10/10", "B00X works", "Gut", "A+", "Très bien"]
    for columns in (
        {},
        {"text": lambda n: texts[n % 10] + " " * (n // 10) + f" no {n}"},
        {"title": "Five Stars"},
    ):
        assert found(tmp_path, **columns).warnings == ()


@pytest.mark.parametrize("value", ["nan", "N/A", "null", "None", "-"])
def test_a_value_without_text_in_more_than_a_tenth_of_the_rows(tmp_path: Path, value: str) -> None:
    (warning,) = found(tmp_path, text=lambda n: value if n % 4 == 0 else f"lamp {n} works").warnings
    assert warning.startswith(f"the value {value!r} fills 25% of the first 40 rows of text")
    assert warning.endswith(f"; if it means that there is no text, set input.null_values={value}")
    few = found(tmp_path, text=lambda n: value if n % 10 == 0 else f"lamp {n} works")
    assert few.warnings == ()
    config = InputConfig(null_values=(value,), null_text="skip")
    assert found(tmp_path, config, text=lambda n: value if n % 4 == 0 else f"lamp {n} works").warnings == ()


def test_all_words_for_a_missing_text_are_in_the_proposed_setting(tmp_path: Path) -> None:
    words = ["nan", "N/A", " nan ", "null"]
    (warning,) = found(tmp_path, text=lambda n: words[n % 4] if n % 2 == 0 else f"lamp {n} works").warnings
    assert warning.endswith("set input.null_values=nan")
    (warning,) = found(tmp_path, text=lambda n: words[n % 4] if n % 3 else f"lamp {n} works").warnings
    assert warning.endswith("set input.null_values=nan,N/A,null")


@pytest.mark.parametrize("value", [None, "", " "])
def test_more_records_without_text_than_may_be_rejected(tmp_path: Path, value: str | None) -> None:
    def text(n: int) -> str | None:
        return value if n % 10 == 0 else f"lamp {n} works"

    (warning,) = found(tmp_path, text=text).warnings
    assert warning.startswith("10% of the first 40 records have no text, more than may be rejected;")
    assert warning.endswith("set input.null_text=skip to leave them out")
    for config in (InputConfig(null_text="skip"), InputConfig(max_rejected_frac=0.1)):
        assert found(tmp_path, config, text=text).warnings == ()
    words = InputConfig(null_values=("nan",))
    (warning,) = found(tmp_path, words, text=lambda n: "nan" if n % 10 == 0 else f"lamp {n} works").warnings
    assert "have no text" in warning


def test_a_repeated_text(tmp_path: Path) -> None:
    (warning,) = found(tmp_path, text=lambda n: "Great app" if n % 3 == 0 else f"lamp {n} works").warnings
    assert warning.startswith("the value 'Great app' fills 35% of the first 40 rows of the text")
    assert warning.endswith("set input.null_values='Great app'")
    text = "Great app, really"
    (warning,) = found(tmp_path, text=lambda n: text if n % 3 == 0 else f"lamp {n} works").warnings
    assert warning.endswith("""set input.null_values='["Great app, really"]'""")
    text = "Great app " + "x" * 40
    (warning,) = found(tmp_path, text=lambda n: text if n % 3 == 0 else f"lamp {n} works").warnings
    assert warning.endswith("if it means that there is no text, remove it")


@pytest.mark.parametrize(
    "value",
    [
        lambda n: 1000 + n,
        lambda n: f"R{n:010}",
        lambda n: f"2018-07-{n % 28 + 1:02}",
        lambda n: f"https://example.org/{n}",
        lambda n: f"{n:08x}-0000-4000-8000-000000000000",
        lambda n: n / 7,
    ],
)
def test_ids_and_numbers_instead_of_texts(tmp_path: Path, value: Any) -> None:
    (warning,) = found(tmp_path, text=value).warnings
    assert "of the values of text are IDs or numbers, for example" in warning
    assert "set input.text" in warning


def test_lists_instead_of_texts_are_refused(tmp_path: Path) -> None:
    words = r"text holds lists, not texts, for example \"\['lamp 0', 'works'\]\"; write each of its texts"
    texts = [[f"lamp {n}", "works"] for n in range(ROWS)]
    with pytest.raises(InputError, match=words):
        found(tmp_path, text=lambda n: texts[n])
    pq.write_table(pa.table({"text": texts, "stars": [5, 4] * (ROWS // 2)}), tmp_path / "b")
    with pytest.raises(InputError, match=words):
        detect(locate(tmp_path / "b"))


def test_objects_in_strings_and_other_literals_are_a_warning(tmp_path: Path) -> None:
    (warning,) = found(tmp_path, text=lambda n: json.dumps({"body": f"lamp {n}"})).warnings
    assert warning.startswith("the values of text are objects in strings, for example '{")
    (warning,) = found(tmp_path, text=lambda n: str([f"lamp {n}", "works"])).warnings
    assert warning.startswith("the values of text are lists in strings, for example \"['lamp 0'")
    (warning,) = found(tmp_path, text=lambda n: str(f"lamp {n}".encode())).warnings
    assert warning.startswith("the values of text are bytes of Python in strings, for example \"b'lamp 0'\"")
    edited = found(tmp_path, text=lambda n: f"[edited {n}] it works" if n % 2 else f"{{sic}} it broke {n}")
    assert edited.warnings == ()


def test_lists_of_objects_are_named(tmp_path: Path) -> None:
    reviews = [{"text": "It works", "stars": 5}, {"text": "It broke", "stars": 1}]
    shops = [{"shop": f"S{n}", "data": {"reviews": reviews}} for n in range(ROWS)]
    words = r"reviews are the objects in data\.reviews, with text, stars, .* jq -c '{}'; otherwise name the"
    (tmp_path / "a").write_text(json.dumps(shops))
    with pytest.raises(InputError, match=words.format(re.escape(".[].data.reviews[]"))):
        detect(locate(tmp_path / "a"))


def test_rows_with_one_class(tmp_path: Path) -> None:
    (warning,) = found(tmp_path, stars=5).warnings
    assert warning.startswith("the first 40 rows all have stars = '5'")


def test_the_average_of_the_product_is_not_the_rating(tmp_path: Path) -> None:
    for average in (4.3, 5, lambda n: 3.9 + n % 3 / 10):
        result = found(tmp_path, stars=None, rating=average, review_rating=lambda n: n % 5 + 1)
        assert result.fmt.stars == "review_rating"
        (warning,) = result.warnings
        assert warning.startswith("stars = review_rating, not rating, whose values are")


@pytest.mark.parametrize("product", ["asin", "productTitle", "shop"])
@pytest.mark.parametrize("step", [1, 0.5])
def test_a_rating_that_follows_from_the_product_is_an_average(
    tmp_path: Path, product: str, step: float
) -> None:
    products = {product: lambda n: f"P{n % 7}", "rating": lambda n: 5 - (n % 7) % 4 * step}
    result = found(tmp_path, stars=None, user_rating=lambda n: n * n % 5 + 1, **products)
    assert result.fmt.stars == "user_rating"
    assert result.warnings == (
        f"stars = user_rating, not rating, whose value is the same in all records with the same {product};"
        " set input.stars if this is wrong",
    )
    result = found(tmp_path, stars=None, **products)
    assert result.fmt.stars == "rating"
    (warning,) = result.warnings
    assert warning.startswith(f"rating is the same in all records with the same {product}, as an average is")


def test_ratings_of_reviews_are_no_averages(tmp_path: Path) -> None:
    by_stars = {"label": lambda n: "pos" if n % 5 > 1 else "neg", "shown": lambda n: f"{n % 5 + 1} of 5"}
    for columns in (
        {"asin": lambda n: f"P{n % 7}"},
        {"review_id": lambda n: f"R{n}"},
        {"text": lambda n: f"number {n % 5}", **by_stars},
    ):
        assert not [w for w in found(tmp_path, **columns).warnings if "same in all records" in w]
    # Each record occurs several times, with another number.
    rows = [r | {"row": n} for n, r in enumerate(records(asin=lambda n: f"P{n}") * 5)]
    assert detect(jsonl(tmp_path / "b", rows)).warnings == ()


@pytest.mark.parametrize(
    "column", ["rating_id", "stars_text", "title", "user_id", "page_url", "review_id", "product_rating_name"]
)
def test_columns_that_are_no_products_do_not_make_averages(tmp_path: Path, column: str) -> None:
    """The stars also follow from another spelling of them, from a page of one rating, from a user."""
    result = found(
        tmp_path,
        InputConfig(text=("text",)),
        **{column: lambda n: f"X{n % 5}", "service_rating": lambda n: n * n % 5 + 1},
    )
    assert (result.fmt.stars, result.warnings) == ("stars", ())


def test_stars_of_another_known_column_are_used_if_the_first_has_none(tmp_path: Path) -> None:
    result = found(tmp_path, title="Lamp", rating=lambda n: None, stars=lambda n: n % 5 + 1)
    assert result.fmt.stars == "stars"


def test_half_stars_next_to_whole_ratings_are_an_average(tmp_path: Path) -> None:
    result = found(tmp_path, stars=lambda n: 3 + n % 4 / 2, review_stars=lambda n: n * n % 5 + 1)
    assert result.fmt.stars == "review_stars"
    (warning,) = result.warnings
    assert warning.startswith("stars = review_stars, not stars, which has half stars;")


@pytest.mark.parametrize(
    ("other", "is_warned"),
    [
        ("score", True),
        ("my_rating", True),
        ("userStars", True),
        ("service_rating", False),
        ("score_food", False),
    ],
)
def test_a_rating_of_the_whole_is_a_warning_and_one_of_an_aspect_is_not(
    tmp_path: Path, other: str, is_warned: bool
) -> None:
    result = found(tmp_path, **{other: lambda n: n * n % 5 + 1})
    assert result.fmt.stars == "stars"
    assert any("could hold the stars, too" in warning for warning in result.warnings) == is_warned


def test_the_named_column_is_kept_with_a_warning(tmp_path: Path) -> None:
    config = InputConfig(text=("text",), stars="rating")
    result = found(tmp_path, config, stars=lambda n: n % 5 + 1, rating=4)
    assert result.fmt.stars == "rating"
    assert "stars = rating, whose values are all 4; stars could hold the stars, too" in result.warnings
    with pytest.raises(ScaleError, match=r"rating has only the rating 4\.3, .*name that of the ratings"):
        found(tmp_path, config, stars=lambda n: n % 5 + 1, rating=4.3)


def test_two_columns_with_ratings_are_a_warning(tmp_path: Path) -> None:
    result = found(tmp_path, rating=lambda n: (n + 1) % 5 + 1)
    (warning,) = result.warnings
    assert warning.endswith("could hold the stars, too; set input.stars")
    assert result.fmt.stars in warning
    # The same values under two names are no choice.
    assert found(tmp_path, rating=lambda n: n % 5 + 1).warnings == ()


@pytest.mark.parametrize("other", ["helpful_votes", "rating_number", "average_rating", "review_id"])
def test_counts_and_averages_are_no_ratings(tmp_path: Path, other: str) -> None:
    result = found(tmp_path, stars=5, **{other: lambda n: n % 5 + 1})
    assert result.fmt.stars == "stars"
