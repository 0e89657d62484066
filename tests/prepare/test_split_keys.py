"""Where a split by user or product finds its keys, when the first lines do not tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe
from pipeline.ingest.detect.sources import Source, detect_sources
from pipeline.ingest.parse.formats import Format
from pipeline.prepare.split_keys import with_keys
from pipeline.settings import load_config
from pipeline.storage.location import locate

LONGEST_BYTES = 65_536


def sources_of(file: Path, lines: list[dict[str, Any]], *sets: str) -> list[Source]:
    """The file with these lines, as a split by what the settings say reads it."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = load_config(None, sets)
    recipe = Recipe.from_config(config, label_scheme(config.labels.scheme, config.labels.words))
    return with_keys(detect_sources([locate(file)], config.input), config, recipe.parse_options())


def review(text_bytes: int, **other: Any) -> dict[str, Any]:
    return {"overall": 5.0, "reviewText": "x" * text_bytes, **other}


@pytest.mark.parametrize("user", ["", "U1"])
def test_lines_that_are_too_long_tell_nothing_of_the_users(tmp_path: Path, user: str) -> None:
    sets = ("split.by=user", f"input.max_line_bytes={LONGEST_BYTES}")
    # More than a chunk that is looked into; what comes behind it counts.
    too_long = [review(LONGEST_BYTES, reviewerID="U0")] * 10
    lines = [*too_long, *[review(1, reviewerID=user)] * 10]
    if user:
        assert len(sources_of(tmp_path / "a.json", lines, *sets)) == 1
    else:
        with pytest.raises(InputError, match=r"a\.json: split\.by=user, but no line"):
            sources_of(tmp_path / "a.json", lines, *sets)


def test_a_file_in_which_no_line_can_be_read_is_not_called_one_without_users(tmp_path: Path) -> None:
    sets = ("split.by=user", f"input.max_line_bytes={LONGEST_BYTES}")
    assert len(sources_of(tmp_path / "a.json", [review(LONGEST_BYTES)] * 3, *sets)) == 1


@pytest.mark.parametrize(("text", "column"), [("text", "parent_asin"), ("text,parent_asin", "asin")])
def test_a_product_that_is_part_of_the_text_is_not_what_the_split_goes_by(
    tmp_path: Path, text: str, column: str
) -> None:
    line = {"rating": 5, "text": "shirt", "asin": "B1", "parent_asin": "P1"}
    (source,) = sources_of(tmp_path / "a.json", [line], "split.by=product", f"input.text={text}")
    assert isinstance(source.fmt, Format)
    assert source.fmt.asin == column
