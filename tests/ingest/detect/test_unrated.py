"""Warnings about records without a label that can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import InputConfig, LabelsConfig
from pipeline.ingest.detect.detect import Needs, detect_file
from pipeline.ingest.detect.unrated import unrated_warnings, unrated_words
from pipeline.storage.location import locate

RATINGS: list[Any] = [1, 2, 3, 4, 5] * 8


def warnings(values: list[Any], **labels: Any) -> list[str]:
    return unrated_warnings("stars", values, LabelsConfig.model_validate(labels), 0.05)


def test_ratings_without_gaps_and_few_gaps_are_no_warning() -> None:
    assert warnings(RATINGS) == warnings([*RATINGS, "nan", None]) == warnings([None] * 9) == []
    assert unrated_words([*RATINGS, "nan"], LabelsConfig(), 0.05) == []


@pytest.mark.parametrize("words", [["nan"], ["N/A", "none"]])
def test_words_that_mean_not_rated(words: list[str]) -> None:
    values = [*RATINGS, *words * 5]
    (warning,) = warnings(values)
    assert "have no rating, for example" in warning
    assert warning.endswith(f'; if that means "not rated", set labels.unrated={",".join(words)}')
    assert unrated_words(values, LabelsConfig(), 0.05) == words
    assert warnings(values, unrated=words) == []


def test_words_that_are_reviews_are_not_proposed() -> None:
    values = [*RATINGS, *(f"good {n}" for n in range(10))]
    (warning,) = warnings(values)
    assert warning.startswith(
        "stars: 20% of the first 50 records have no rating, for example 'good 0', more than"
    )
    assert unrated_words(values, LabelsConfig(), 0.05) == []


def test_missing_values_and_unknown_labels() -> None:
    (warning,) = warnings([*RATINGS, *[None] * 10])
    assert warning.startswith(
        "stars: 20% of the first 50 records have no value, more than may be rejected; set"
    )
    (warning,) = warnings(["pos", "neg", "good"] * 10, scheme="words", words=["neg", "pos"])
    assert "33% of the first 30 records have no label of labels.words, for example 'good'" in warning


def test_true_and_false_are_no_ratings_next_to_others() -> None:
    (warning,) = warnings([*RATINGS, *[True, False] * 5])
    assert "20% of the first 50 records have no rating, for example 'true'" in warning
    assert warnings([True, False] * 20, scale="0-1") == []


def test_given_values_are_kept_in_the_proposal() -> None:
    labels = LabelsConfig(unrated=("0",))
    assert unrated_words([*RATINGS, *["N/A"] * 10, 0], labels, 0.05) == ["0", "N/A"]
    assert unrated_words([*RATINGS, *[0] * 10], labels, 0.05) == []


def test_records_without_a_text_do_not_count(tmp_path: Path) -> None:
    rows = "".join(f"lamp {n} works,{n % 5 + 1}\n,\n" for n in range(40))
    (tmp_path / "a.csv").write_text(f"text,stars\n{rows}")
    found = detect_file(locate(tmp_path / "a.csv"), InputConfig(null_text="skip"), Needs())
    assert found is not None
    assert found.warnings == ()


def test_a_dump_to_score_needs_no_labels(tmp_path: Path) -> None:
    rows = "".join(f"lamp {n} works,{n % 4 or 'nan'}\n" for n in range(40))
    (tmp_path / "a.csv").write_text(f"text,stars\n{rows}")
    for need_stars in (True, False):
        found = detect_file(locate(tmp_path / "a.csv"), InputConfig(), Needs(need_stars))
        assert found is not None
        assert any("labels.unrated=nan" in warning for warning in found.warnings) == need_stars
