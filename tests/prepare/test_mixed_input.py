"""One prepare job reads dumps of every format; each line is kept or rejected."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ErrorBudgetError, InputError
from pipeline.storage.location import locate
from pipeline.synth import write_dump
from tests.prepare.small_job import Row, encode, parquet_rows, plan, prepare

DAMAGED = b"\x1f\x8b\x08\x00" + b"\xff" * 300
"""A gzip file whose header is damaged."""

LINE = json.dumps({"overall": 5, "reviewText": "good"}).encode()
TOO_LONG = json.dumps({"overall": 5, "reviewText": "x" * 300_000}).encode()
LONG_LINES = [LINE, TOO_LONG, LINE, TOO_LONG, LINE]
LONG_REJECTS = [
    (2, "line_too_long", len(LINE) + 1, 4096),
    (4, "line_too_long", 2 * len(LINE) + len(TOO_LONG) + 3, 4096),
]
"""Line, reason, offset and bytes kept of the rejects of LONG_LINES if lines may have 100,000 bytes."""


def positions(rejects: list[Row]) -> list[tuple[int, str, int, int]]:
    return [(r["line"], r["reason"], r["byte_offset"], len(r["raw"])) for r in rejects]


def write_one_of_each(folder: Path) -> dict[str, bytes]:
    """Write files of every format, syntax and compression; return their text by path."""
    folder.mkdir()
    texts = {}
    for fmt, pack, name in (
        ("2014", bz2.compress, "a.json.bz2"),
        ("2018", gzip.compress, "b.json.gz"),
        ("2023", lambda d: bytes(pa.compress(d, codec="zstd", asbytes=True)), "c.jsonl.zst"),
    ):
        dump = write_dump(
            locate(folder / f"synth{fmt}"), rows=150, shards=1, fmt=fmt, broken_frac=0.1, seed=5
        )
        (file,) = dump.files
        text = gzip.decompress(file.read_bytes())
        locate(folder / f"synth{fmt}").delete_tree()
        (folder / name).write_bytes(pack(text))
        texts[str(folder / name)] = text
    rows = [{"review_body": f"body {i}", "review_headline": "h", "star_rating": i % 5 + 1} for i in range(90)]
    lines = ["\t".join(rows[0]), *("\t".join(map(str, r.values())) for r in rows), "odd one"]
    (folder / "d.tsv").write_text("\n".join(lines) + "\n")
    texts[str(folder / "d.tsv")] = (folder / "d.tsv").read_bytes()
    literals = [repr({"reviewText": f"it's {i}", "overall": 2.0, "helpful": [0, 0]}) for i in range(40)]
    (folder / "e.json").write_text("\n".join([*literals, "{oops"]) + "\n")
    texts[str(folder / "e.json")] = (folder / "e.json").read_bytes()
    yelp = {"text": [f"meal {i}" for i in range(70)], "stars": [4.0] * 69 + [9.0], "business_id": ["B"] * 70}
    pq.write_table(pa.table(yelp), folder / "f.parquet")
    (folder / "g.json.gz").write_bytes(gzip.compress(b"\n".join([*LONG_LINES, b""])))
    texts[str(folder / "g.json.gz")] = b"\n".join([*LONG_LINES, b""])
    (folder / "h.json.gz").write_bytes(DAMAGED)
    return texts


@pytest.mark.ray
def test_one_job_reads_files_of_every_kind(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    texts = write_one_of_each(tmp_path / "in")
    sets = ("dedup.enabled=false", "input.max_rejected_frac=0.5", "input.chunk_bytes=8192")
    sets += ("input.max_line_bytes=100000",)
    manifest = prepare(cluster, tiny_model, [tmp_path / "in"], tmp_path / "out", *sets)
    assert [name.partition(",")[0] for name in manifest.details.formats.values()] == [
        "amazon_2014",
        "amazon_2018",
        "amazon_2023",
        "amazon_us_reviews",
        "amazon_2014",
        "yelp",
        "amazon_2018",
        "amazon_2018",
    ]
    counts = manifest.counts
    assert counts is not None
    assert counts.lines == 3 * 150 + 91 + 41 + 70 + 5
    for path, file in counts.files.items():
        assert file.lines == file.rows + sum(file.rejected.values())
        if path in texts:
            header = path.endswith(".tsv")
            assert file.lines == texts[path].count(b"\n") - header
    assert counts.files[str(tmp_path / "in" / "d.tsv")].rejected == {"bad_csv": 1}
    assert counts.files[str(tmp_path / "in" / "e.json")].rejected == {"bad_python": 1}
    assert counts.files[str(tmp_path / "in" / "f.parquet")].rejected == {"stars_out_of_range": 1}
    (sentence,) = manifest.details.broken
    assert sentence.startswith(f"{tmp_path / 'in' / 'h.json.gz'}: gzip data are damaged")
    assert "after 0 bytes of text" in sentence
    assert counts.files[str(tmp_path / "in" / "h.json.gz")].lines == 0
    rejects = parquet_rows(tmp_path / "out", "rejects/part-*")
    long = [row for row in rejects if row["source"] == str(tmp_path / "in" / "g.json.gz")]
    assert positions(long) == LONG_REJECTS
    assert len(rejects) == sum(counts.rejected.values())
    for row in rejects:
        if row["source"] in texts:
            assert texts[row["source"]][row["byte_offset"] :].startswith(row["raw"])
        else:
            assert json.loads(row["raw"])["stars"] == 9.0


@pytest.mark.ray
def test_strict_job_fails_at_a_shard_with_a_damaged_header(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json.gz").write_bytes(gzip.compress(LINE))
    (tmp_path / "in" / "b.json.gz").write_bytes(DAMAGED)
    with pytest.raises(ErrorBudgetError, match=r"gzip data are damaged.*input\.strict allows no broken file"):
        prepare(cluster, tiny_model, [tmp_path / "in"], tmp_path / "out", "input.strict=true")


@pytest.mark.ray
def test_rejects_are_written_although_a_split_is_empty(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"\n".join(LONG_LINES)))
    sets = ("input.max_line_bytes=100000", "input.max_rejected_frac=1", "dedup.enabled=false")
    # Equal texts are in one split, so train or val stays empty.
    with pytest.raises(InputError, match="usable rows is in"):
        prepare(cluster, tiny_model, [tmp_path / "a.json.gz"], tmp_path / "out", *sets)
    assert positions(parquet_rows(tmp_path / "out", "rejects/part-*")) == LONG_REJECTS


@pytest.mark.parametrize("chunk_bytes", [4096, 1 << 20])
def test_line_that_is_too_long_is_rejected_for_any_chunk_size(
    tiny_model: Path, tmp_path: Path, chunk_bytes: int
) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"\n".join(LONG_LINES)))
    sets = ("input.max_line_bytes=100000", f"input.chunk_bytes={chunk_bytes}")
    _, rows = encode(plan(tiny_model, [tmp_path / "a.json.gz"], tmp_path / "out", *sets))
    assert [row["line"] for row in rows] == [1, 3, 5]
    assert positions(parquet_rows(tmp_path / "out", "rejects/part-*")) == LONG_REJECTS
