"""JSON by columns, and XML: named for what they are, with what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.storage.location import locate
from tests.detection import detect_format

COLUMNS = r"a JSON object of columns, not rows; write it with to_json\(orient='records', lines=True\)"
ROWS = r"a JSON object with a key for each row, not a list of rows; .*to_json\(orient='records', lines=True\)"


def frame(rows: int, index: list[str] | None = None) -> pd.DataFrame:
    columns = {
        "stars": [1, 2, 3, 4, 5] * (rows // 5),
        "text": ["a {b}", 'c "d"', "e", "f", "g"] * (rows // 5),
    }
    return pd.DataFrame(columns, index=index)


@pytest.mark.parametrize("rows", [5, 50_000])
@pytest.mark.parametrize("orient", ["columns", "index", "split", "values", "list"])
@pytest.mark.parametrize("indent", [0, 2])
def test_pandas_layouts(rows: int, orient: str, indent: int, tmp_path: Path) -> None:
    if orient == "list":
        (tmp_path / "a").write_text(pd.io.json.ujson_dumps(frame(rows).to_dict("list"), indent=indent))
    else:
        frame(rows).to_json(tmp_path / "a", orient=orient, indent=indent)
    words = {"index": ROWS, "values": "a JSON array of lists"}.get(orient, COLUMNS)
    with pytest.raises(InputError, match=words):
        detect_format(locate(tmp_path / "a"), InputConfig())


@pytest.mark.parametrize(("orient", "words"), [("columns", COLUMNS), ("index", ROWS)])
def test_pandas_layouts_with_words_as_index(orient: str, words: str, tmp_path: Path) -> None:
    frame(5, list("vwxyz")).to_json(tmp_path / "a", orient=orient)
    with pytest.raises(InputError, match=words):
        detect_format(locate(tmp_path / "a"), InputConfig())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "<review>\n<unique_id>\n0312:x\n</unique_id>\n<rating>\n5.0\n</rating>\n",
            "Blitzer.*review_text.*rating",
        ),
        ("\n<?xml version='1.0'?>\n<reviews/>\n", "XML document; convert it"),
        ("\ufeff<reviews>\n<review stars='5'>x</review></reviews>\n", "XML document; convert it"),
    ],
)
def test_markup(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text * 20, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        detect_format(locate(tmp_path / "a"), InputConfig())


def test_objects_in_json_strings(tmp_path: Path) -> None:
    lines = [json.dumps(json.dumps({"text": f"lamp {n}, works", "stars": 5})) for n in range(20)]
    (tmp_path / "a").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"a JSON string that contains an object; .* with jq -r"):
        detect_format(locate(tmp_path / "a"), InputConfig())
