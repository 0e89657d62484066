"""Splits by user, product or text share no key, neither move nor leak; only the first pass is run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.prepare.steps import KEYLESS
from tests.prepare.small_job import EVEN, Row, encode, plan


def review(number: int) -> Row:
    about = {"overall": float(number % 5 + 1), "reviewText": f"shirt number {number}"}
    return about | {"reviewerID": f"U{number % 40}", "asin": f"B{number % 30}"}


def write(file: Path, lines: list[Row]) -> Path:
    """Write rows in the format that the suffix of the file names."""
    if file.suffix == ".json":
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif file.suffix == ".csv":
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([lines[0].keys(), *(line.values() for line in lines)])
    else:
        pq.write_table(pa.Table.from_pylist(lines), file)
    return file


def encode_one(file: Path, model: Path, *sets: str) -> tuple[list[Row], float]:
    """Encoded rows of a file, and the number of rows without a key."""
    entries, rows = encode(plan(model, [file], file.parent / "out", *sets, *EVEN))
    return rows, sum(entry.counts[KEYLESS] for entry in entries)


def splits_by(key: str, rows: list[Row], lines: list[Row]) -> dict[str, set[str]]:
    """Splits that contain rows with each value of a field of the input."""
    found: dict[str, set[str]] = {}
    for row in rows:
        line = lines[row["line"] - 1]
        if key in line:
            found.setdefault(line[key], set()).add(row["split"])
    return found


@pytest.mark.parametrize(("by", "key"), [("user", "reviewerID"), ("product", "asin"), ("text", "reviewText")])
def test_splits_share_no_key_and_keep_their_rows_when_data_grow(
    tiny_model: Path, tmp_path: Path, by: str, key: str
) -> None:
    reviews = [review(n) for n in range(600)]
    del reviews[5]["reviewerID"], reviews[6]["asin"]
    small, more = write(tmp_path / "1.json", reviews[:400]), write(tmp_path / "2.json", reviews[400:])
    splits = []
    for name, inputs in (("small", [small]), ("grown", [small, more])):
        _, rows = encode(plan(tiny_model, inputs, tmp_path / name, f"split.by={by}", *EVEN))
        # Line numbers of the concatenated files.
        rows = [row | {"line": row["line"] + 400 * (row["source"] == str(more))} for row in rows]
        splits.append({row["line"]: row["split"] for row in rows})
    assert [len(found) for found in splits] == [400, 600]
    assert {n: splits[1][n] for n in splits[0]} == splits[0]
    found = splits_by(key, rows, reviews)
    assert all(len(s) == 1 for s in found.values())
    assert {s for group in found.values() for s in group} == {"train", "val", "test"}


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_variants_of_a_product_are_in_one_split(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    lines = [{"rating": n % 5 + 1, "title": "t", "text": f"shirt {n}", "asin": f"B{n}"} for n in range(400)]
    lines = [line | {"parent_asin": f"P{n % 40}"} for n, line in enumerate(lines)]
    file = write(tmp_path / f"dump.{kind}", lines)
    rows, keyless = encode_one(file, tiny_model, "split.by=product")
    found = splits_by("parent_asin", rows, lines)
    assert all(len(splits) == 1 for splits in found.values())
    assert len(found) == 40
    assert len(rows) == 400
    assert keyless == 0
    # An explicit column takes precedence.
    rows, _ = encode_one(file, tiny_model, "split.by=product", "input.asin=asin")
    assert max(len(splits) for splits in splits_by("parent_asin", rows, lines).values()) > 1


def test_split_by_product_uses_asin_without_parent_asin(tiny_model: Path, tmp_path: Path) -> None:
    lines = [{"rating": 5, "title": "t", "text": f"shirt {n}", "asin": f"B{n % 40}"} for n in range(400)]
    rows, keyless = encode_one(write(tmp_path / "1.json", lines), tiny_model, "split.by=product")
    found = splits_by("asin", rows, lines)
    assert all(len(splits) == 1 for splits in found.values())
    assert len(found) == 40
    assert keyless == 0


@pytest.mark.parametrize(("by", "column"), [("user", "user_id"), ("product", "asin")])
def test_split_by_a_key_that_no_line_has_is_refused(
    tiny_model: Path, tmp_path: Path, by: str, column: str
) -> None:
    lines = [{"overall": 5.0, "reviewText": f"shirt {n}", "reviewerID": " ", "asin": ""} for n in range(9)]
    bare = write(tmp_path / "1.json", lines)
    words = rf"1\.json: split\.by={by}, but no line .* has a {by}; name the column .*input\.{column}="
    with pytest.raises(InputError, match=words):
        plan(tiny_model, [bare], tmp_path / "out", f"split.by={by}")
    # If another file has the key, the job runs, and the card reports the rows without one.
    full = write(tmp_path / "2.json", [review(1)])
    job = plan(tiny_model, [bare, full], tmp_path / "out", f"split.by={by}")
    assert len(job.sources) == 2
    assert not (tmp_path / "out").exists()
