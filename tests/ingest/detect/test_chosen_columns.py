"""Columns that are chosen, reported, and refused; files that are not reviews."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError, UnknownFormatError
from pipeline.ingest.detect.columns import Columns
from pipeline.ingest.detect.detect import Detection, Needs, detect_file
from pipeline.ingest.detect.report import column_lines, columns_by_uri, warning_lines, warnings_of
from pipeline.ingest.detect.sources import find_sources
from pipeline.storage.location import Location, locate

REVIEW = {"rating": 4.0, "title": "Fine", "text": "It works", "asin": "B1", "helpful_vote": 2}
METADATA = {
    "amazon_2023": {"title": "Lamp", "average_rating": 4.1, "rating_number": 9, "parent_asin": "B1"},
    "amazon_2018": {"title": "Lamp", "asin": "B1", "description": ["A lamp"], "price": "$3", "rank": "1"},
    "yelp_business": {"business_id": "B1", "name": "Cafe", "stars": 4.5, "review_count": 9, "city": "X"},
    "google_local": {"gmap_id": "0x1", "name": "Cafe", "avg_rating": 4.1, "num_of_reviews": 9},
    "titles_and_ratings": {"title": "Lamp", "rating": 4.0, "asin": "B1"},
    "questions": {"question": "Does it fit?", "answer": "Yes", "asin": "B1"},
}


def jsonl(file: Path, records: Iterable[dict[str, Any]]) -> Location:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return locate(file)


def detect(file: Location, config: InputConfig | None = None, **options: Any) -> Detection:
    model = options.pop("model", None)
    found = detect_file(file, config or InputConfig(), Needs(options.get("need_stars", True)), model)
    assert found is not None
    return found


def test_columns_are_described_in_one_line(tmp_path: Path) -> None:
    found = detect(jsonl(tmp_path / "a", [REVIEW | {"verified_purchase": True}]))
    assert found.columns == Columns(
        ("title", "text"),
        "rating",
        {"asin": "asin", "verified": "verified_purchase"},
        ("helpful_vote",),
        "amazon_2023",
        has_paths=True,
    )
    assert str(found.columns) == (
        "text = title + text, stars = rating; not used: helpful_vote;"
        " also read: asin, verified_purchase as verified"
    )
    found = detect(jsonl(tmp_path / "b", [{"text": "It works"}]), need_stars=False)
    assert str(found.columns) == "text = text, stars = none; not used: none"


def test_names_with_white_space_are_quoted(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a", [{"my text": "It works", "the stars": 4, " x": 1, "": 2}])
    found = detect(file, InputConfig(text=("my text",), stars="the stars"))
    assert str(found.columns) == "text = 'my text', stars = 'the stars'; not used: '', ' x'"
    with pytest.raises(InputError, match=r"fields: '', ' x', 'my text', 'the stars';"):
        detect(file)


@pytest.mark.parametrize("kind", METADATA)
@pytest.mark.parametrize("need_stars", [True, False])
def test_a_file_without_the_body_of_a_review_is_refused(tmp_path: Path, kind: str, need_stars: bool) -> None:
    with pytest.raises(UnknownFormatError, match="unknown review format"):
        detect(jsonl(tmp_path / "a", [METADATA[kind]]), need_stars=need_stars)


def test_the_missing_body_is_named(tmp_path: Path) -> None:
    record = {"review": "It works", "rating": 4, "title": "Fine", "userName": "U1"}
    file = jsonl(tmp_path / "a", [record])
    with pytest.raises(UnknownFormatError, match=r"like amazon_2023, but without its column text.*review"):
        detect(file)
    found = detect(file, InputConfig(text=("review",)))
    assert (found.columns.text, found.columns.stars) == (("review",), "rating")
    assert found.columns.chosen_by == "the settings"


@pytest.mark.parametrize("kind", METADATA)
def test_files_that_are_not_reviews_are_refused_by_name_or_left_out(tmp_path: Path, kind: str) -> None:
    reviews = jsonl(tmp_path / "a.jsonl", [REVIEW])
    other = jsonl(tmp_path / "b.jsonl", [METADATA[kind]])
    for need_stars in (True, False):
        with pytest.raises(UnknownFormatError, match=r"b\.jsonl: unknown review format.*--skip-unknown"):
            find_sources([reviews, other], InputConfig(), need_stars=need_stars)
        found = find_sources([other, reviews], InputConfig(skip_unknown=True), need_stars=need_stars)
        assert [(s.number, s.uri) for s in found.sources] == [(0, reviews.uri)]
        (line,) = warning_lines(found.sources, found.skipped)
        assert line.startswith(f"warning: left out: {other.uri}: unknown review format")
        assert warnings_of(found.sources, found.skipped) == found.skipped
        with pytest.raises(UnknownFormatError, match=r"b\.jsonl: unknown review format"):
            find_sources([other], InputConfig(skip_unknown=True), need_stars=need_stars)


def test_a_file_without_stars_among_others_is_a_warning(tmp_path: Path) -> None:
    files = [jsonl(tmp_path / "a", [REVIEW]), jsonl(tmp_path / "b", [{"text": "It works"}])]
    found = find_sources(files, InputConfig(), need_stars=False)
    assert [s.warnings for s in found.sources] == [(), ("no stars, unlike other files of the input",)]
    assert find_sources(files[1:], InputConfig(), need_stars=False).sources[0].warnings == ()


def test_files_with_the_same_columns_share_a_line(tmp_path: Path) -> None:
    files = [jsonl(tmp_path / f"{n}.json", [REVIEW]) for n in range(3)]
    files.append(jsonl(tmp_path / "3.json", [{"overall": 1, "reviewText": "Bad"}]))
    sources = find_sources(files, InputConfig()).sources
    same, other = column_lines(sources)
    assert same.startswith(f"{files[0].uri} and 2 more: amazon_2023, JSON lines: text = title + text,")
    assert other == (
        f"{files[3].uri}: amazon_2018, JSON lines: text = reviewText, stars = overall; not used: none"
    )
    recorded = columns_by_uri(sources)[files[3].uri]
    assert (recorded.text, recorded.stars, recorded.chosen_by) == (["reviewText"], "overall", "amazon_2018")


@pytest.mark.parametrize("number", [1, "1"])
def test_a_column_can_be_named_by_a_number(tmp_path: Path, number: Any) -> None:
    file = jsonl(tmp_path / "a", [{"1": "It works", "2": 4}])
    found = detect(file, InputConfig(text=number, stars=2))  # type: ignore[arg-type]
    assert (found.columns.text, found.columns.stars) == (("1",), "2")


MODEL = InputConfig(text=("review",), stars="points", asin="item")


def test_columns_of_the_model_are_used_if_the_file_has_its_text(tmp_path: Path) -> None:
    own = jsonl(
        tmp_path / "own", [{"review": "It works", "points": 4, "item": "B1", "text": "x", "rating": 1}]
    )
    found = detect(own, need_stars=False, model=MODEL)
    assert (found.columns.text, found.columns.stars) == (("review",), "points")
    assert (found.columns.carried, found.columns.chosen_by) == ({"asin": "item"}, "the model")
    unlabeled = jsonl(tmp_path / "unlabeled", [{"review": "It works"}])
    found = detect(unlabeled, need_stars=False, model=MODEL)
    assert (found.columns.text, found.columns.stars) == (("review",), None)
    amazon = jsonl(tmp_path / "amazon", [REVIEW])
    found = detect(amazon, need_stars=False, model=MODEL)
    assert (found.columns.text, found.columns.chosen_by) == (("title", "text"), "amazon_2023")
    unknown = jsonl(tmp_path / "unknown", [{"body": "It works"}])
    with pytest.raises(UnknownFormatError, match="fields: body"):
        detect(unknown, need_stars=False, model=MODEL)


def test_settings_precede_the_columns_of_the_model(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "a", [{"review": "It works", "points": 4, "body": "Not this", "rank": 1}])
    config = InputConfig(text=("body",))
    model = MODEL.model_copy(update={"text": config.text})
    found = detect(file, config, need_stars=False, model=model)
    assert (found.columns.text, found.columns.stars) == (("body",), "points")
    with pytest.raises(InputError, match=r"input\.text=title, but no line has this field"):
        detect(
            file,
            InputConfig(text=("title",)),
            need_stars=False,
            model=MODEL.model_copy(update={"text": ("title",)}),
        )


def test_a_file_without_a_header_is_read_with_the_names_of_the_model(tmp_path: Path) -> None:
    model = InputConfig(columns=("points", "title", "review"), text=("title", "review"), stars="points")
    (tmp_path / "bare.csv").write_text('4,Fine,"It works, really"\n1,Bad,It broke\n')
    found = detect(locate(tmp_path / "bare.csv"), need_stars=False, model=model)
    assert (found.fmt.dialect.columns, found.fmt.dialect.start_bytes) == (model.columns, 0)
    assert (found.columns.text, found.columns.stars) == (("title", "review"), "points")
    # The first line is a header: of the same columns, or of others.
    (tmp_path / "same.csv").write_text("points,title,review\n4,Fine,It works\n")
    found = detect(locate(tmp_path / "same.csv"), need_stars=False, model=model)
    assert found.fmt.dialect.start_bytes == 20
    (tmp_path / "other.csv").write_text("stars,author,text\n4,Ann,It works\n")
    found = detect(locate(tmp_path / "other.csv"), need_stars=False, model=model)
    assert (found.columns.text, found.columns.chosen_by) == (("text",), "yelp")


def test_shards_that_suggest_different_stars_are_refused(tmp_path: Path) -> None:
    def write(name: str, average: float) -> Location:
        rows = ({"text": f"lamp {n}", "rating": average + n % 2, "my_rating": n % 5 + 1} for n in range(20))
        return jsonl(tmp_path / name, rows)

    files = [write("a", 3), write("b", 3.9)]
    with pytest.raises(InputError, match=r"/a: .* in rating, but in .*/b .* in my_rating; .*input\.stars"):
        find_sources(files, InputConfig())
    named = InputConfig(stars="my_rating")
    assert [s.fmt.stars for s in find_sources(files, named).sources] == ["my_rating"] * 2  # type: ignore[union-attr]
