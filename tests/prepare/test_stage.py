"""The prepare job: texts are kept once, splits neither leak nor move, output bytes are deterministic."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError, SettingError
from pipeline.ingest.detect.sources import Source
from pipeline.prepare import stage
from pipeline.prepare.shuffle import BUCKET_ROWS, Shuffle
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Manifest
from pipeline.runtime.pools import Cluster, Node
from pipeline.settings import load_config
from pipeline.storage.location import locate
from pipeline.synth import write_dump

pytestmark = pytest.mark.ray

DAY_S = 86_400
EPOCH_2018 = int(datetime(2018, 1, 1, tzinfo=timezone.utc).timestamp())


def review(number: int, **other: Any) -> dict[str, Any]:
    about = {"overall": float(number % 5 + 1), "reviewText": f"shirt number {number}"}
    about |= {"reviewerID": f"U{number % 40}", "asin": f"B{number % 30}"}
    return about | {"unixReviewTime": EPOCH_2018 + number * DAY_S} | other


def write(file: Path, lines: Iterable[dict[str, Any]]) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode(), mtime=0))
    return str(file)


def prepare(cluster: Any, model: Path, inputs: list[str], output: Path, *sets: str) -> Manifest:
    config = load_config(None, [f"model.name={model}", "tokenize.max_length=16", *sets])
    return stage.prepare(stage.plan(inputs, str(output), config), cluster, Reporter())


def rows_of(output: Path, split: str) -> list[dict[str, Any]]:
    return [row for part in sorted((output / split).glob("*")) for row in pq.read_table(part).to_pylist()]


def digests(output: Path) -> dict[str, str]:
    files = [p for p in output.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return {str(p.relative_to(output)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_each_text_is_kept_once_across_files(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "in" / "1.json.gz", [*map(review, range(300)), review(7), review(8, overall=1.0)])
    spelled = {"reviewText": "  SHIRT number\t9 "}
    two = write(tmp_path / "in" / "2.json.gz", [review(8, overall=1.0), review(9, **spelled), review(300)])
    sets = ("input.chunk_bytes=4096", "split.train_frac=0.6", "split.val_frac=0.2", "split.test_frac=0.2")
    manifest = prepare(cluster, tiny_model, [one, two], tmp_path / "out", *sets)
    assert manifest.counts is not None
    assert manifest.counts.lines == 305
    assert manifest.counts.rejected == {"duplicate": 4}
    splits = [rows_of(tmp_path / "out", s) for s in ("train", "val", "test")]
    rows = [row for split in splits for row in split]
    assert manifest.counts.rows == len(rows) == len({r["text_hash"] for r in rows}) == 301
    assert manifest.counts.splits == {
        n: len(s) for n, s in zip(("train", "val", "test"), splits, strict=True)
    }
    for split in splits:
        hashes = [row["text_hash"] for row in split]
        assert hashes == sorted(hashes)
    # Review 8 has four stars once and one star twice: the first one-star review is kept.
    eighth = next(r for r in rows if r["line"] == 302)
    assert (eighth["source"], eighth["stars"]) == (one, 1.0)
    gone = pa.concat_tables(pq.read_table(p) for p in (tmp_path / "out" / "rejects").iterdir()).to_pylist()
    assert sorted((r["source"], r["line"]) for r in gone) == [(one, 9), (one, 301), (two, 1), (two, 2)]
    nines = next(r for r in gone if r["line"] == 2)
    assert nines["detail"] == f"same text as {one}, line 10"
    assert nines["byte_offset"] == len(json.dumps(review(8, overall=1.0))) + 1
    assert manifest.details.texts_with_conflicting_stars == 1
    assert manifest.details.repeated_rows == 4
    assert not (tmp_path / "out" / "encoded").exists()


def test_output_bytes_are_deterministic(cluster: Any, tiny_model: Path, dump: Path, tmp_path: Path) -> None:
    sets = ("input.chunk_bytes=16384",)
    first = prepare(cluster, tiny_model, [str(dump)], tmp_path / "a", *sets)
    prepare(cluster, tiny_model, [str(dump)], tmp_path / "b", *sets)
    # An interrupted job starts over and writes the same output.
    (tmp_path / "b" / "manifest.json").unlink()
    (tmp_path / "b" / "encoded").mkdir()
    (tmp_path / "b" / "encoded" / "part-00000-000000.parquet").write_bytes(b"half")
    prepare(cluster, tiny_model, [str(dump)], tmp_path / "b", *sets)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    # Another chunk size changes the tasks, but not the rows.
    prepare(cluster, tiny_model, [str(dump)], tmp_path / "c", "input.chunk_bytes=8192")
    for split in ("train", "val", "test"):
        assert rows_of(tmp_path / "a", split) == rows_of(tmp_path / "c", split)
    assert {o.path for o in first.outputs} == set(digests(tmp_path / "a")) - {"run.json"}


def test_output_does_not_depend_on_the_number_of_cpus(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    write_dump(locate(tmp_path / "in"), rows=9_000, shards=2, broken_frac=0.03)
    config = load_config(None, [f"model.name={tiny_model}", "tokenize.max_length=16"])
    for cpus in (1.0, 2.0):
        job = stage.plan([str(tmp_path / "in")], str(tmp_path / f"out{cpus:g}"), config)
        stage.prepare(job, Cluster((Node(cpus),)), Reporter())
    assert digests(tmp_path / "out1") == digests(tmp_path / "out2")
    assert len(list((tmp_path / "out1" / "rejects").glob("part-*"))) > 2
    run = json.loads((tmp_path / "out1" / "run.json").read_text())
    assert run["resolved"] == {"chunk_bytes": 512 << 10}


@pytest.mark.parametrize(
    ("size_bytes", "chunk_bytes"),
    [(1, 512 << 10), (32 << 20, 1536 << 10), (100 << 20, 4800 << 10), (30 << 30, 8 << 20)],
)
def test_chunk_size_scales_with_the_input(size_bytes: int, chunk_bytes: int) -> None:
    assert stage._chunk_bytes([Source(0, "/in/a.json.gz", size_bytes, "f")]) == chunk_bytes


@pytest.mark.parametrize(("by", "key"), [("user", "reviewerID"), ("product", "asin"), ("text", "reviewText")])
def test_splits_share_no_key_and_keep_their_rows_when_data_grow(
    cluster: Any, tiny_model: Path, tmp_path: Path, by: str, key: str
) -> None:
    reviews = [review(n) for n in range(600)]
    del reviews[5]["reviewerID"], reviews[6]["asin"]
    small = write(tmp_path / "in" / "1.json.gz", reviews[:400])
    more = write(tmp_path / "in" / "2.json.gz", reviews[400:])
    sets = (f"split.by={by}", "split.train_frac=0.5", "split.val_frac=0.25", "split.test_frac=0.25")
    splits = []
    for name, inputs in (("small", [small]), ("grown", [small, more])):
        prepare(cluster, tiny_model, inputs, tmp_path / name, *sets)
        place = {}
        for split in ("train", "val", "test"):
            for row in rows_of(tmp_path / name, split):
                place[row["line"] - 1 + (400 if row["source"] == more else 0)] = split
        splits.append(place)
    assert len(splits[0]) == 400
    assert len(splits[1]) == 600
    assert {n: splits[1][n] for n in splits[0]} == splits[0]
    found: dict[str, set[str]] = {}
    for number, split in splits[1].items():
        if key in reviews[number]:
            found.setdefault(reviews[number][key], set()).add(split)
    assert all(len(s) == 1 for s in found.values())
    assert {s for group in found.values() for s in group} == {"train", "val", "test"}


def splits_by(key: str, output: Path, dumps: dict[str, list[dict[str, Any]]]) -> dict[str, set[str]]:
    """Splits that contain rows with each value of a field of the dumps."""
    found: dict[str, set[str]] = {}
    for split in ("train", "val", "test"):
        for row in rows_of(output, split):
            found.setdefault(dumps[row["source"]][row["line"] - 1].get(key, ""), set()).add(split)
    return found


EVEN = ("split.train_frac=0.4", "split.val_frac=0.3", "split.test_frac=0.3")


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_variants_of_a_product_are_in_one_split(
    cluster: Any, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    lines = [
        {
            "rating": n % 5 + 1,
            "title": "t",
            "text": f"shirt {n}",
            "asin": f"B{n}",
            "parent_asin": f"P{n % 40}",
        }
        for n in range(400)
    ]
    file = tmp_path / f"dump.{kind}"
    if kind == "json":
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif kind == "csv":
        rows = [lines[0].keys(), *(line.values() for line in lines)]
        file.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(lines), file)
    manifest = prepare(cluster, tiny_model, [str(file)], tmp_path / "out", "split.by=product", *EVEN)
    found = splits_by("parent_asin", tmp_path / "out", {str(file): lines})
    assert all(len(splits) == 1 for splits in found.values())
    assert len(found) == 40
    assert manifest.details.rows_without_key == 0
    # An explicit column takes precedence.
    sets = ("split.by=product", "input.asin=asin", *EVEN)
    prepare(cluster, tiny_model, [str(file)], tmp_path / "named", *sets)
    found = splits_by("parent_asin", tmp_path / "named", {str(file): lines})
    assert max(len(splits) for splits in found.values()) > 1


def test_split_by_product_uses_asin_without_parent_asin(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    lines = [{"rating": 5, "title": "t", "text": f"shirt {n}", "asin": f"B{n % 40}"} for n in range(400)]
    file = write(tmp_path / "in" / "1.json.gz", lines)
    manifest = prepare(cluster, tiny_model, [file], tmp_path / "out", "split.by=product", *EVEN)
    found = splits_by("asin", tmp_path / "out", {file: lines})
    assert all(len(splits) == 1 for splits in found.values())
    assert manifest.details.rows_without_key == 0


@pytest.mark.parametrize(("by", "column"), [("user", "user_id"), ("product", "asin")])
def test_split_by_a_key_that_no_line_has_is_refused(
    tiny_model: Path, tmp_path: Path, by: str, column: str
) -> None:
    lines = [{"overall": 5.0, "reviewText": f"shirt {n}", "reviewerID": " ", "asin": ""} for n in range(9)]
    config = load_config(None, [f"model.name={tiny_model}", "tokenize.max_length=16", f"split.by={by}"])
    bare = write(tmp_path / "in" / "1.json.gz", lines)
    words = rf"1\.json\.gz: split\.by={by}, but no line .* has a {by}; name the column .*input\.{column}="
    with pytest.raises(InputError, match=words):
        stage.plan([bare], str(tmp_path / "out"), config)
    # If another file has the key, the job runs, and the card reports the rows without one.
    full = write(tmp_path / "in" / "2.json.gz", [review(1)])
    assert len(stage.plan([bare, full], str(tmp_path / "out"), config).sources) == 2
    assert not (tmp_path / "out").exists()


def test_rows_without_a_user_are_split_by_text_with_a_warning(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    reviews = [review(n, reviewerID=("", " ", None)[n % 3] if n < 300 else "U1") for n in range(400)]
    reviews += reviews[:20]
    file = write(tmp_path / "in" / "1.json.gz", reviews)
    manifest = prepare(cluster, tiny_model, [file], tmp_path / "out", "split.by=user", *EVEN)
    found = splits_by("reviewerID", tmp_path / "out", {file: reviews})
    assert found[""] == found[" "] == found[None] == {"train", "val", "test"}  # type: ignore[index]
    assert len(found["U1"]) == 1
    assert manifest.details.repeated_rows == 20
    assert manifest.details.rows_without_key == 320
    warning = "by user; 320 reviews without one, repeated ones included, are split by text"
    assert warning in (tmp_path / "out" / "card.md").read_text()


def test_card_counts_texts_in_several_splits(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    reviews = [review(n, reviewText=f"shirt number {n % 100}") for n in range(400)]
    file = write(tmp_path / "in" / "1.json.gz", reviews)
    sets = ("split.by=user", "dedup.enabled=false", *EVEN)
    manifest = prepare(cluster, tiny_model, [file], tmp_path / "out", *sets)
    apart = splits_by("reviewText", tmp_path / "out", {file: reviews})
    count = sum(len(splits) > 1 for splits in apart.values())
    assert manifest.details.texts_in_several_splits == count > 0
    assert f"{count} texts are in more than one split" in (tmp_path / "out" / "card.md").read_text()


def test_split_by_time_cuts_at_its_dates(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    reviews = [review(n) for n in range(100)]
    del reviews[50]["unixReviewTime"]
    file = write(tmp_path / "in" / "1.json.gz", reviews)
    sets = ("split.by=time", "split.val_from=2018-02-01", "split.test_from=2018-03-01")
    manifest = prepare(cluster, tiny_model, [file], tmp_path / "out", *sets)
    assert manifest.counts is not None
    assert manifest.counts.splits == {"train": 31, "val": 28 - 1, "test": 100 - 59}
    assert manifest.counts.rejected == {"missing_timestamp": 1}
    assert (manifest.details.first_day, manifest.details.last_day) == ("2018-01-01", "2018-04-10")


def test_split_by_time_needs_ordered_dates() -> None:
    with pytest.raises(SettingError, match=r"by=time needs split\.val_from"):
        load_config(None, ["split.by=time"])
    sets = ["split.by=time", "split.val_from=2018-03-01", "split.test_from=2018-02-01"]
    with pytest.raises(SettingError, match="val_from=2018-03-01 must be before test_from=2018-02-01"):
        load_config(None, sets)


def test_card_describes_the_rows(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    reviews = [review(n, reviewText=" ".join(["good"] * (n % 25 + 1) + [str(n)])) for n in range(200)]
    reviews += [review(n, reviewText=" ".join(["good"] * n)) for n in (9_000, 20_000)]
    file = write(tmp_path / "in" / "1.json.gz", [*reviews, review(0, reviewText=" ")])
    manifest = prepare(cluster, tiny_model, [file], tmp_path / "out")
    rows = [r for s in ("train", "val", "test") for r in rows_of(tmp_path / "out", s)]
    details = manifest.details
    assert details.truncated_rows == sum(r["truncated"] for r in rows) > 0
    assert details.tokens == sum(r["num_tokens"] for r in rows)
    assert sum(details.length_histogram.values()) == 202
    whole = sum(int(n) * times for n, times in details.length_histogram.items())
    assert whole == details.tokens + details.cut_tokens
    assert details.length_quantiles["1"] == max(map(int, details.length_histogram)) == 20_002
    page = (tmp_path / "out" / "card.md").read_text()
    assert f"{details.truncated_rows:,} reviews" in page
    assert "| empty_text | 1 |" in page
    for picture in ("card-stars.png", "card-lengths.png", "card-rejects.png"):
        assert picture in page
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")


def test_number_of_buckets_scales_with_the_rows() -> None:
    dedup = load_config(None).dedup
    assert Shuffle.of("out", dedup, 10).buckets == 2
    assert Shuffle.of("out", dedup, 5_000_000).buckets == -(-5_000_000 // BUCKET_ROWS)
    assert Shuffle.of("out", dedup, 10**9).buckets == 4096
    assert Shuffle.of("out", dedup, 10).group_rows == 1024
