"""Detection of the rating scale of a file, refusals and warnings."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError, ScaleError
from pipeline.ingest.detect.scale_guess import Observed, guess_scale
from pipeline.ingest.detect.scales import scale_warnings
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.parse.columns import star_array
from pipeline.ingest.parse.stars import RatingRule
from pipeline.scale import Scale
from pipeline.storage.location import Location, locate
from tests.detection import detect_format

CONFIG = InputConfig(text=("body",), stars="mark")


def write(file: Path, ratings: list[Any]) -> Location:
    file.write_text(
        "".join(json.dumps({"body": f"text {i}", "mark": r}) + "\n" for i, r in enumerate(ratings))
    )
    return locate(file)


def detect(file: Location, **labels: Any) -> str | None:
    fmt = detect_format(file, CONFIG, labels=LabelsConfig.model_validate(labels))
    assert fmt is not None
    return None if fmt.scale is None else str(fmt.scale)


def warnings(ratings: list[Any], *, need_stars: bool = True, **labels: Any) -> list[str]:
    return scale_warnings("mark", ratings, LabelsConfig.model_validate(labels), need_stars=need_stars)


@pytest.mark.parametrize(
    ("ratings", "scale"),
    [
        ([0, 1, 2, 3, 4] * 10, "0-4"),
        ([1, 2, 3, 4] * 45 + [0], "0-4"),
        ([0, 1, 2, 3] * 10, "0-4"),
        ([0, 1] * 20, "0-1"),
        (["0", "1"] * 20, "0-1"),
        ([0, 0.25, 0.4, 1.0] * 5, "0-1"),
        ([0, 1, 2] * 10, "0-2"),
        ([-1, 1] * 20, "-1-1"),
        ([-1, 0, 1] * 20, "-1-1"),
        ([-2, -1, 0, 1, 2] * 5, "-2-2"),
        (list(range(1, 11)) * 4, "1-10"),
        (list(range(11)) * 4, "0-10"),
        ([x / 2 for x in range(2, 21)], "1-10"),
        ([1, 3, 5, 6, 7] * 10, "1-7"),
        ([10, 20, 30, 40, 50] * 4, "10-50"),
        ([10, 25, 45, 50] * 4, "10-50"),
        (list(range(0, 101, 5)), "0-100"),
        ([4, 12, 15, 20] * 5, "1-20"),
        ([0.5, 1, 2.5, 4, 5] * 5, "0.5-5"),
        (["8/10", "3/10", "10/10"] * 5, "1-10"),
        (["4/10", "3/10", "2/10"] * 5, "1-10"),
        (["80%", "100%"] * 5, "0-100"),
        ([20, 40, 60, 80, 100] * 4, "20-100"),
        ([10, 30, 100] * 5, "10-100"),
        (["20%", "60%", "100%"] * 5, "20-100"),
        (["★★★☆", "★☆☆☆"] * 5, "1-4"),
        ([1, 7, 10] * 100 + [999], "1-10"),
    ],
)
def test_other_scales_are_refused_and_named(ratings: list[Any], scale: str, tmp_path: Path) -> None:
    random.Random(0).shuffle(ratings)
    file = write(tmp_path / "a", ratings)
    with pytest.raises(ScaleError) as raised:
        detect(file)
    message = str(raised.value)
    assert message.startswith(f"{file.uri}: mark has ")
    assert f"set labels.scale={scale}" in message
    # Scoring needs no stars.
    assert detect_format(file, CONFIG, need_stars=False) is not None
    assert warnings(ratings, need_stars=False) == [message.removeprefix(f"{file.uri}: ")]
    # With the setting, the file is read without a word.
    fitting = [r for r in ratings if r != 999]
    assert detect(write(tmp_path / "b", fitting), scale=scale) is not None
    assert warnings(fitting, scale=scale) == []


def test_0_without_5_may_also_mean_not_rated(tmp_path: Path) -> None:
    file = write(tmp_path / "a", [0, 1, 2, 3, 4] * 10)
    with pytest.raises(InputError, match=r'labels\.scale=0-4, or labels\.unrated=0 if 0 means "not rated"'):
        detect(file)
    assert detect(file, unrated=0) is None
    assert detect(file, scale="1-5") == "0-4"


@pytest.mark.parametrize(
    ("ratings", "scale"),
    [
        ([1, 2, 3, 4, 5] * 10, "1-5"),
        (["1.0 out of 5 stars", "5.0 out of 5 stars"] * 10, "1-5"),
        ([x / 2 for x in range(2, 11)] * 3, "1-5"),
        ([4, 5] * 10, None),
        ([5] * 200, None),
        ([1, 5] * 10, "1-5"),
        ([1, 2, 3, 4, 5] * 40 + ["five", None, ""], "1-5"),
        ([9, 1, 2], None),
        ([], None),
    ],
)
def test_stars_are_accepted_without_a_warning(ratings: list[Any], scale: str | None, tmp_path: Path) -> None:
    assert detect(write(tmp_path / "a", [*ratings, None]), scale=None) == scale
    assert len(ratings) == 3 or warnings(ratings) == []


@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, 5, 5, 4.5]), min_size=60, max_size=300))
def test_clean_dumps_have_no_warnings(ratings: list[float]) -> None:
    observed = Observed.of([*ratings, 5])
    assert str(guess_scale(observed) or "1-5") == "1-5"
    assert warnings([*ratings, 5, 1]) == []


def test_0_next_to_5_is_answered_with_a_hint() -> None:
    ratings = [0, 1, 2, 3, 4, 5] * 10
    (warning,) = warnings(ratings)
    assert warning == (
        "mark: 10 of the first 60 ratings are 0, which is not on the scale 1-5; set labels.unrated=0 if 0"
        ' means "not rated", or labels.scale=0-5'
    )
    assert warnings(ratings, unrated=0) == warnings(ratings, scale="0-5") == []


def test_single_ratings_outside_the_scale_are_a_warning() -> None:
    (warning,) = warnings([1, 2, 3, 4, 5] * 40 + [55, 7, 7])
    assert "mark: 3 of the first 203 ratings are not on the scale 1-5, for example 7" in warning
    assert "labels.scale=LOW-HIGH" in warning


@pytest.mark.parametrize(
    ("ratings", "labels", "setting"),
    [
        ([1, 2] * 20, {}, "labels.scale=1-2"),
        ([1, 2] * 20, {"scheme": "binary"}, "labels.scale=1-2"),
        ([1, 2, 3] * 20, {}, "labels.scale=1-3"),
        ([1, 2, 3, 4] * 20, {}, "labels.scale=1-4"),
        ([1, 2, 3, 4, 5] * 20, {"scale": "1-10"}, "labels.scale=1-5"),
    ],
)
def test_narrow_ratings_are_a_warning(ratings: list[Any], labels: dict[str, Any], setting: str) -> None:
    (warning,) = warnings(ratings, **labels)
    assert warning.endswith(f"if the scale ends there, set {setting}")


def test_ratings_outside_a_given_scale_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a", list(range(1, 11)) * 4)
    with pytest.raises(InputError, match=r"ratings from 1 to 10, but labels\.scale=0-4; set .*scale=1-10"):
        detect(file, scale="0-4")


def test_averages_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a", [4.37, 3.92, 4.11, 5, 4.76] * 5)
    with pytest.raises(InputError, match=r"such as 4\.37; a column of averages\?.*input\.stars="):
        detect(file)
    assert detect(file, scale="1-5") is None


@pytest.mark.parametrize("syntax", ["json", "csv", "parquet"])
def test_true_and_false_are_a_scale_of_0_to_1(syntax: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a", [True, False, True])
    if syntax == "csv":
        (tmp_path / "a").write_text("body,mark\nworks,True\nbroke,False\nworks,TRUE\n")
    elif syntax == "parquet":
        pq.write_table(pa.table({"body": ["a", "b", "c"], "mark": [True, False, True]}), tmp_path / "a")
    with pytest.raises(
        ScaleError, match=r"mark has the values true and false, .* set labels\.scale=0-1"
    ) as info:
        detect(file)
    assert info.value.scale == Scale(0, 1)
    assert detect(file, scale="0-1") == "0-1"
    values: list[Any] = [True, False] if syntax == "json" else ["True", "FALSE"]
    assert star_array(values, RatingRule(Scale(0, 1))).to_pylist() == [5, 1]
    assert np.isnan(star_array(values, RatingRule(Scale(0, 4))).to_pylist()).all()


def test_ratings_of_several_scales_are_refused(tmp_path: Path) -> None:
    ratings = ["7/10", "3/5", "9/10"] * 10
    with pytest.raises(ScaleError, match=r"several scales \(20 out of 10, 10 out of 5\); convert") as info:
        detect(write(tmp_path / "a", ratings))
    assert info.value.scale is None
    assert detect(write(tmp_path / "a", ["7/10", "9/10", "3/10"] * 20 + ["3/5"]), scale="1-10") == "1-10"


def test_ratings_near_the_upper_end_only(tmp_path: Path) -> None:
    points = list(range(80, 101)) * 3
    with pytest.raises(
        ScaleError, match=r"set labels\.scale=1-100, or labels\.scale=80-100 if no rating is below 80"
    ):
        detect(write(tmp_path / "a", points))
    (warning,) = warnings(points, scale="1-100")
    assert warning.endswith("on the scale 1-100; if the scale starts there, set labels.scale=80-100")
    assert warnings(points, scale="80-100") == warnings([4, 5] * 40) == []


def test_fractions_of_1_have_steps(tmp_path: Path) -> None:
    fifths = [0.2, 0.4, 0.6, 0.8, 1] * 10
    for ratings, scale in ((fifths, "0.2-1"), ([0.1, *fifths], "0.1-1"), ([0, *fifths], "0-1")):
        with pytest.raises(ScaleError, match=rf"set labels\.scale={scale}"):
            detect(write(tmp_path / "a", ratings))


def test_minus_1_next_to_1_to_5_is_answered_with_a_hint(tmp_path: Path) -> None:
    ratings = [1, 2, 3, 4, 5, -1] * 10
    assert detect(write(tmp_path / "a", ratings)) == "1-5"
    (warning,) = warnings(ratings)
    assert warning.endswith('on the scale 1-5; set labels.unrated=-1 if -1 means "not rated"')
    assert warnings(ratings, unrated="-1") == []


def test_a_scale_does_not_end_with_half_a_star() -> None:
    assert warnings([2.5, 3, 3.5, 4, 4.5] * 20) == []


def test_two_ratings_need_the_binary_scheme(tmp_path: Path) -> None:
    file = write(tmp_path / "a", [0, 1] * 20)
    assert detect(file, scale="0-1") == "0-1"
    with pytest.raises(InputError, match=r"only two ratings, which leaves .*set labels\.scheme=binary"):
        detect(file, scale="0-1", scheme="stars")
    neutral = write(tmp_path / "b", [-1, 0, 1] * 20)
    assert detect(neutral, scale="-1-1", scheme="sentiment") == "-1-1"


def test_files_with_different_scales_are_refused_by_name(tmp_path: Path) -> None:
    five = write(tmp_path / "five", [1, 2, 3, 4, 5] * 10)
    ten = write(tmp_path / "ten", list(range(1, 11)) * 4)
    zero = write(tmp_path / "zero", [0, 1, 2, 3, 4] * 10)
    half = write(tmp_path / "half", [7, 8, 9, 10] * 10)

    def refusal(files: list[Location], **labels: Any) -> str:
        with pytest.raises(InputError) as raised:
            detect_sources(files, CONFIG, labels=LabelsConfig.model_validate(labels))
        return str(raised.value)

    assert refusal([five, ten]).startswith(
        f"{ten.uri}: its ratings are on the scale 1-10, but those of {five.uri}"
    )
    assert refusal([ten, five]).startswith(
        f"{ten.uri}: its ratings are on the scale 1-10, but those of {five.uri}"
    )
    assert refusal([ten, five], scale="1-10").startswith(f"{five.uri}: its ratings are on the scale 1-5")
    assert refusal([five, zero], scale="0-4").startswith(f"{five.uri}: its ratings are on the scale 1-5")
    assert refusal([ten, zero], scale="1-5").startswith(f"{zero.uri}: its ratings are on the scale 0-4")
    assert refusal([zero]).startswith(f"{zero.uri}: mark has ratings from 0 to 4, not stars from 1 to 5")
    assert len(detect_sources([ten, half], CONFIG, labels=LabelsConfig(scale="1-10"))) == 2


@pytest.mark.parametrize("parquet", [False, True])
def test_ratings_after_the_first_200_records_count(parquet: bool, tmp_path: Path) -> None:
    ratings = [3] * 400 + list(range(1, 11)) * 100
    file = write(tmp_path / "a", ratings)
    if parquet:
        pq.write_table(pa.table({"body": ["x"] * len(ratings), "mark": ratings}), tmp_path / "a")
    with pytest.raises(InputError, match=r"ratings from 1 to 10, .*set labels\.scale=1-10"):
        detect(file)
