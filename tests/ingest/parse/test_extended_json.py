"""MongoDB's extended JSON, canonical and relaxed, as mongoexport writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.detect.test_elements_sample import read

DATES = [
    ({"$date": "2014-07-03T00:00:00Z"}, "2014-07-03T00:00:00+00:00"),
    ({"$date": {"$numberLong": "1404345600000"}}, "2014-07-03T00:00:00+00:00"),
    ({"$date": 1404345600000}, "2014-07-03T00:00:00+00:00"),
    ({"$date": {"$numberLong": "86400000"}}, "1970-01-02T00:00:00+00:00"),
    ({"$date": {"$numberLong": "-86400000"}}, "1969-12-31T00:00:00+00:00"),
]
NUMBERS = [
    ({"$numberInt": "4"}, 4.0),
    ({"$numberLong": "4"}, 4.0),
    ({"$numberDouble": "4.0"}, 4.0),
    ({"$numberDecimal": "4"}, 4.0),
    ({"$numberDouble": "NaN"}, None),
    ({"$numberDouble": "-Infinity"}, None),
    ({"$numberLong": 4}, 4.0),
]
LAYOUTS = {
    "lines": lambda records: "\n".join(map(json.dumps, records)),
    "compact lines": lambda records: "\n".join(json.dumps(r, separators=(",", ":")) for r in records),
    "spaced lines": lambda records: "\n".join(
        json.dumps(r, separators=(" , ", " : ")).replace("{", "{ ") for r in records
    ),
    "array": json.dumps,
    "pretty-printed array": lambda records: json.dumps(records, indent=2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_typed_values_are_plain_values(layout: str, tmp_path: Path) -> None:
    text = 'it costs "$5" {"$numberInt":"5"}'
    records: list[dict[str, Any]] = [
        {"_id": {"$oid": "5f"}, "business_id": {"$oid": "b1"}, "stars": number, "text": text, "date": day}
        for number, _ in NUMBERS
        for day, _ in DATES
    ]
    (tmp_path / "a").write_text(LAYOUTS[layout](records))
    fmt, rows, rejected = read(tmp_path / "a")
    if layout != "spaced lines":
        assert {r["text"] for r in rows} == {text}
    assert (fmt.name, rejected) == ("yelp", [])
    assert {r["asin"] for r in rows} == {"b1"}
    assert [(r["stars"], r["timestamp"].isoformat()) for r in rows] == [
        (stars, day) for _, stars in NUMBERS for _, day in DATES
    ]


def test_other_objects_are_null(tmp_path: Path) -> None:
    values = [
        {"$numberInt": "x"},
        {"$oid": "1", "b": 2},
        {"$binary": "4"},
        {"$numberInt": [4]},
        {"$date": None},
    ]
    lines = [json.dumps({"stars": v, "text": "x"}) for v in values]
    (tmp_path / "a").write_text('{"stars": {"$numberInt": "3"}, "text": "x"}\n' * 9 + "\n".join(lines))
    _, rows, rejected = read(tmp_path / "a")
    assert rejected == []
    assert [r["stars"] == 3.0 for r in rows] == [True] * 9 + [False] * 5
