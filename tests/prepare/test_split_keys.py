"""The column of keys for a split by user or product, also if the first lines do not have it."""

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
    """Write these lines to a file; return its source with the key column that the settings require."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = load_config(None, sets)
    recipe = Recipe.from_config(config, label_scheme(config.labels.scheme, config.labels.words))
    return with_keys(detect_sources([locate(file)], config.input), config, recipe.parse_options())


def review(text_bytes: int, **other: Any) -> dict[str, Any]:
    return {"overall": 5.0, "reviewText": "x" * text_bytes, **other}


@pytest.mark.parametrize("user", ["", "U1"])
def test_search_for_keys_skips_lines_that_are_too_long(tmp_path: Path, user: str) -> None:
    sets = ("split.by=user", f"input.max_line_bytes={LONGEST_BYTES}")
    # More than the first chunk examined, so the following lines decide.
    too_long = [review(LONGEST_BYTES, reviewerID="U0")] * 10
    lines = [*too_long, *[review(1, reviewerID=user)] * 10]
    if user:
        assert len(sources_of(tmp_path / "a.json", lines, *sets)) == 1
    else:
        with pytest.raises(InputError, match=r"a\.json: split\.by=user, but no line"):
            sources_of(tmp_path / "a.json", lines, *sets)


def test_file_without_readable_lines_is_not_refused(tmp_path: Path) -> None:
    sets = ("split.by=user", f"input.max_line_bytes={LONGEST_BYTES}")
    assert len(sources_of(tmp_path / "a.json", [review(LONGEST_BYTES)] * 3, *sets)) == 1


@pytest.mark.parametrize(("text", "column"), [("text", "parent_asin"), ("text,parent_asin", "asin")])
def test_column_used_as_text_is_not_the_split_key(tmp_path: Path, text: str, column: str) -> None:
    line = {"rating": 5, "text": "shirt", "asin": "B1", "parent_asin": "P1"}
    (source,) = sources_of(tmp_path / "a.json", [line], "split.by=product", f"input.text={text}")
    assert isinstance(source.fmt, Format)
    assert source.fmt.asin == column
