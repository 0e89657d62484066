"""The prepare job: texts are kept once, output bytes are deterministic, the card describes the rows."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pipeline.details import PrepareDetails
from pipeline.errors import NoRowsError, SettingError
from pipeline.ingest.detect.sources import Source
from pipeline.prepare import stage
from pipeline.prepare.shuffle import BUCKET_ROWS, Shuffle
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Manifest
from pipeline.runtime.pools import Cluster, Node, plan_prepare
from pipeline.settings import load_config
from pipeline.storage.location import locate
from pipeline.synth import write_dump
from tests.prepare.small_job import EVEN, Row, parquet_rows, plan, prepare, rows_of

DAY_S = 86_400
EPOCH_2018 = int(datetime(2018, 1, 1, tzinfo=timezone.utc).timestamp())
CHUNK_BYTES = 20 << 10
"""Chunks for which one encoder is an actor, and two are tasks, in the test of 1,200 rows."""


def review(number: int, **other: Any) -> dict[str, Any]:
    about = {"overall": float(number % 5 + 1), "reviewText": f"shirt number {number}"}
    about |= {"reviewerID": f"U{number % 40}", "asin": f"B{number % 30}"}
    return about | {"unixReviewTime": EPOCH_2018 + number * DAY_S} | other


def write(file: Path, lines: Iterable[dict[str, Any]]) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode(), mtime=0))
    return str(file)


def digests(output: Path) -> dict[str, str]:
    files = [p for p in output.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return {str(p.relative_to(output)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def splits_by(key: str, rows: list[Row], reviews: list[dict[str, Any]]) -> dict[str | None, set[str]]:
    """Splits that contain rows with each value of a field of the reviews."""
    found: dict[str | None, set[str]] = {}
    for row in rows:
        found.setdefault(reviews[row["line"] - 1].get(key, ""), set()).add(row["split"])
    return found


@pytest.mark.ray
def test_each_text_is_kept_once_across_files(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "in" / "1.json.gz", [*map(review, range(300)), review(7), review(8, overall=1.0)])
    spelled = {"reviewText": "  SHIRT number\t9 "}
    two = write(tmp_path / "in" / "2.json.gz", [review(8, overall=1.0), review(9, **spelled), review(300)])
    sets = ("input.chunk_bytes=4096", "split.train_frac=0.6", "split.val_frac=0.2", "split.test_frac=0.2")
    manifest = prepare(cluster, tiny_model, [one, two], tmp_path / "out", *sets)
    assert manifest.counts is not None
    assert manifest.counts.lines == 305
    assert manifest.counts.rejected == {"duplicate": 4}
    rows = rows_of(tmp_path / "out")
    assert manifest.counts.rows == len(rows) == len({r["text_hash"] for r in rows}) == 301
    assert manifest.counts.splits is not None
    for split, count in manifest.counts.splits.items():
        hashes = [row["text_hash"] for row in rows if row["split"] == split]
        assert len(hashes) == count > 0
        assert hashes == sorted(hashes)
    # Review 8 has four stars once and one star twice: the first one-star review is kept.
    eighth = next(r for r in rows if r["line"] == 302)
    assert (eighth["source"], eighth["stars"]) == (one, 1.0)
    gone = parquet_rows(tmp_path / "out", "rejects/*")
    assert sorted((r["source"], r["line"]) for r in gone) == [(one, 9), (one, 301), (two, 1), (two, 2)]
    nines = next(r for r in gone if r["line"] == 2)
    assert nines["detail"] == f"same text as {one}, line 10"
    assert nines["byte_offset"] == len(json.dumps(review(8, overall=1.0))) + 1
    assert manifest.details.texts_with_conflicting_stars == 1
    assert manifest.details.repeated_rows == 4
    assert not (tmp_path / "out" / "encoded").exists()


@pytest.mark.ray
def test_input_of_which_no_row_is_left_ends_with_its_counts(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "in" / "a.json.gz", [review(n, verified=False) for n in range(30)])
    with pytest.raises(NoRowsError, match="none of the 30 lines can be used: 30 filtered_unverified; change"):
        prepare(cluster, tiny_model, [source], tmp_path / "a", "input.verified_only=true")
    assert not (tmp_path / "a" / "manifest.json").exists()


def test_output_bytes_are_deterministic(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    write_dump(locate(tmp_path / "in"), rows=1200, shards=2, broken_frac=0.03)
    first, second, third = (tmp_path / name for name in "abc")

    def run(output: Path, cpus: float, chunk_bytes: int) -> tuple[Manifest[PrepareDetails], bool]:
        job = plan(tiny_model, [tmp_path / "in"], output, f"input.chunk_bytes={chunk_bytes}")
        machine = Cluster((Node(cpus),))
        encoders = plan_prepare(machine, len(job.sources)).encoders
        return stage.prepare(job, machine, Reporter()), stage.encodes_in_tasks(job, encoders)

    # The number of CPUs does not change the bytes, nor whether encoders are actors or tasks.
    manifest, in_tasks = run(first, 1.0, CHUNK_BYTES)
    assert not in_tasks
    # An interrupted job starts over.
    shutil.copytree(first, second)
    (second / "manifest.json").unlink()
    (second / "encoded").mkdir()
    (second / "encoded" / "part-00000-000000.parquet").touch()
    for part in second.rglob("*.parquet"):
        part.write_bytes(b"half")
    assert run(second, 2.0, CHUNK_BYTES)[1]
    assert digests(first) == digests(second)
    assert {o.path for o in manifest.outputs} == set(digests(first)) - {"run.json"}
    assert len(list((first / "rejects").glob("part-*"))) > 2
    resolved = json.loads((first / "run.json").read_text())["resolved"]
    assert (resolved["chunk_bytes"], resolved["dialects"]) == (CHUNK_BYTES, {})
    assert {tuple(columns["text"]) for columns in resolved["columns"].values()} == {("summary", "reviewText")}
    # Another chunk size changes the tasks, but not the rows.
    run(third, 1.0, 4 * CHUNK_BYTES)
    assert rows_of(first) == rows_of(third)


def test_default_chunk_size_does_not_depend_on_the_machine(
    tiny_model: Path, dump: Path, tmp_path: Path
) -> None:
    assert plan(tiny_model, [dump], tmp_path / "out").run.resolved["chunk_bytes"] == 512 << 10


@pytest.mark.parametrize("cpus", [1.0, 4.0])
def test_encoders_are_tasks_up_to_sixteen_chunks_each(
    tiny_model: Path, dump: Path, tmp_path: Path, cpus: float
) -> None:
    job = plan(tiny_model, [dump], tmp_path / "out")
    encoders = plan_prepare(Cluster((Node(cpus),)), files=1).encoders
    most = 16 * encoders.size * job.chunk_bytes
    for size_bytes, in_tasks in ((most, True), (most + 1, False)):
        sources = [Source(0, "/in/a.json", size_bytes, "f")]
        assert stage.encodes_in_tasks(replace(job, sources=sources), encoders) == in_tasks


@pytest.mark.parametrize(
    ("size_bytes", "chunk_bytes"),
    [(1, 512 << 10), (32 << 20, 1536 << 10), (100 << 20, 4800 << 10), (30 << 30, 8 << 20)],
)
def test_chunk_size_scales_with_the_input(size_bytes: int, chunk_bytes: int) -> None:
    assert stage._chunk_bytes([Source(0, "/in/a.json.gz", size_bytes, "f")]) == chunk_bytes


@pytest.fixture(scope="module")
def by_user(
    cluster: Any, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Manifest[PrepareDetails], list[dict[str, Any]]]:
    """Output of a job that splits by user, its manifest and its input; read-only.

    320 of the 422 reviews with text have no user, 20 are repeated, and two are very long.
    """
    users = [("", " ", None)[n % 3] if n < 300 else "U1" for n in range(400)]
    texts = [" ".join(["good"] * (n % 25 + 1) + [str(n)]) for n in range(400)]
    reviews = [review(n, reviewText=texts[n], reviewerID=users[n]) for n in range(400)]
    reviews += reviews[:20]
    reviews += [review(0, reviewText=" ".join(["good"] * n), reviewerID="U1") for n in (9_000, 20_000)]
    reviews.append(review(0, reviewText=" "))
    folder = tmp_path_factory.mktemp("by-user")
    file = write(folder / "in" / "1.json.gz", reviews)
    return (
        folder / "out",
        prepare(cluster, tiny_model, [file], folder / "out", "split.by=user", *EVEN),
        reviews,
    )


@pytest.mark.ray
def test_rows_without_a_user_are_split_by_text_with_a_warning(
    by_user: tuple[Path, Manifest[PrepareDetails], list[dict[str, Any]]],
) -> None:
    output, manifest, reviews = by_user
    found = splits_by("reviewerID", rows_of(output), reviews)
    assert found[""] == found[" "] == found[None] == {"train", "val", "test"}
    assert len(found["U1"]) == 1
    assert manifest.details.repeated_rows == 20
    assert manifest.details.rows_without_key == 320
    warning = "by user; 320 reviews without one, repeated ones included, are split by text"
    assert warning in (output / "card.md").read_text()


@pytest.mark.ray
def test_card_describes_the_rows(
    by_user: tuple[Path, Manifest[PrepareDetails], list[dict[str, Any]]],
) -> None:
    output, manifest, _ = by_user
    rows, details = rows_of(output), manifest.details
    assert details.truncated_rows == sum(r["truncated"] for r in rows) > 0
    assert details.tokens == sum(r["num_tokens"] for r in rows)
    assert sum(details.length_histogram.values()) == len(rows) == 402
    whole = sum(int(n) * times for n, times in details.length_histogram.items())
    assert whole == details.tokens + details.cut_tokens
    assert details.length_quantiles["1"] == max(map(int, details.length_histogram)) == 20_002
    page = (output / "card.md").read_text()
    assert f"{details.truncated_rows:,} reviews" in page
    assert "| empty_text | 1 |" in page
    for picture in ("card-stars.png", "card-lengths.png", "card-rejects.png"):
        assert picture in page
        assert (output / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.ray
def test_split_by_time_cuts_at_its_dates_and_counts_texts_in_several_splits(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    reviews = [review(n, reviewText=f"shirt number {n % 60}") for n in range(100)]
    del reviews[50]["unixReviewTime"]
    file = write(tmp_path / "in" / "1.json.gz", reviews)
    sets = ("split.by=time", "split.val_from=2018-02-01", "split.test_from=2018-03-01", "dedup.enabled=false")
    manifest = prepare(cluster, tiny_model, [file], tmp_path / "out", *sets)
    assert manifest.counts is not None
    assert manifest.counts.splits == {"train": 31, "val": 28 - 1, "test": 100 - 59}
    assert manifest.counts.rejected == {"missing_timestamp": 1}
    assert (manifest.details.first_day, manifest.details.last_day) == ("2018-01-01", "2018-04-10")
    apart = splits_by("reviewText", rows_of(tmp_path / "out"), reviews)
    count = sum(len(splits) > 1 for splits in apart.values())
    assert manifest.details.texts_in_several_splits == count > 0
    assert f"{count} texts are in more than one split" in (tmp_path / "out" / "card.md").read_text()


def test_split_by_time_needs_ordered_dates() -> None:
    with pytest.raises(SettingError, match=r"by=time needs split\.val_from"):
        load_config(None, ["split.by=time"])
    sets = ["split.by=time", "split.val_from=2018-03-01", "split.test_from=2018-02-01"]
    with pytest.raises(SettingError, match="val_from=2018-03-01 must be before test_from=2018-02-01"):
        load_config(None, sets)


def test_number_of_buckets_scales_with_the_rows() -> None:
    dedup = load_config(None).dedup
    assert Shuffle.of("out", dedup, 10).buckets == 2
    assert Shuffle.of("out", dedup, 5_000_000).buckets == -(-5_000_000 // BUCKET_ROWS)
    assert Shuffle.of("out", dedup, 10**9).buckets == 4096
    assert Shuffle.of("out", dedup, 10).group_rows == 1024
