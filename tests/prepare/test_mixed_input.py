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
from pipeline.prepare import stage
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Manifest
from pipeline.settings import load_config
from pipeline.storage.location import locate
from pipeline.synth import write_dump

pytestmark = pytest.mark.ray


def prepare(cluster: Any, model: Path, inputs: list[Path], output: Path, *sets: str) -> Manifest:
    config = load_config(None, [f"model.name={model}", "tokenize.max_length=16", *sets])
    return stage.prepare(stage.plan([str(i) for i in inputs], str(output), config), cluster, Reporter())


def rejects_of(output: Path) -> list[dict[str, Any]]:
    return [row for f in sorted((output / "rejects").glob("part-*")) for row in pq.read_table(f).to_pylist()]


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
    return texts


def test_one_job_reads_files_of_every_kind(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    texts = write_one_of_each(tmp_path / "in")
    sets = ("dedup.enabled=false", "input.max_rejected_frac=0.5", "input.chunk_bytes=8192")
    manifest = prepare(cluster, tiny_model, [tmp_path / "in"], tmp_path / "out", *sets)
    assert [name.partition(",")[0] for name in manifest.details.formats.values()] == [
        "amazon_2014",
        "amazon_2018",
        "amazon_2023",
        "amazon_us_reviews",
        "amazon_2014",
        "yelp",
    ]
    counts = manifest.counts
    assert counts is not None
    assert counts.lines == 3 * 150 + 91 + 41 + 70
    for path, file in counts.files.items():
        assert file.lines == file.rows + sum(file.rejected.values())
        if path in texts:
            header = path.endswith(".tsv")
            assert file.lines == texts[path].count(b"\n") - header
    assert counts.files[str(tmp_path / "in" / "d.tsv")].rejected == {"bad_csv": 1}
    assert counts.files[str(tmp_path / "in" / "e.json")].rejected == {"bad_python": 1}
    assert counts.files[str(tmp_path / "in" / "f.parquet")].rejected == {"stars_out_of_range": 1}
    rejects = rejects_of(tmp_path / "out")
    assert len(rejects) == sum(counts.rejected.values())
    for row in rejects:
        if row["source"] in texts:
            assert texts[row["source"]][row["byte_offset"] :].startswith(row["raw"])
        else:
            assert json.loads(row["raw"])["stars"] == 9.0


def test_shard_with_a_damaged_header_is_reported_and_the_others_are_read(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    write_dump(locate(tmp_path / "in"), rows=200, shards=2, seed=1)
    shards = sorted((tmp_path / "in").iterdir())
    shards[1].write_bytes(b"\x1f\x8b\x08\x00" + b"\xff" * 300)
    manifest = prepare(cluster, tiny_model, [tmp_path / "in"], tmp_path / "out")
    (sentence,) = manifest.details.broken
    assert sentence.startswith(f"{shards[1]}: gzip data are damaged")
    assert "after 0 bytes of text" in sentence
    assert manifest.counts is not None
    assert [f.lines for f in manifest.counts.files.values()] == [100, 0]
    with pytest.raises(ErrorBudgetError, match=r"gzip data are damaged.*input\.strict allows no broken file"):
        prepare(cluster, tiny_model, [tmp_path / "in"], tmp_path / "strict", "input.strict=true")


def test_line_that_is_too_long_is_rejected_for_any_chunk_size(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    line = json.dumps({"overall": 5, "reviewText": "good"}).encode()
    long = json.dumps({"overall": 5, "reviewText": "x" * 300_000}).encode()
    lines = [line, long, line, long, line]
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    for chunk_bytes in (4096, 1 << 20):
        sets = ("input.max_line_bytes=100000", f"input.chunk_bytes={chunk_bytes}", "dedup.enabled=false")
        sets += (
            "input.max_rejected_frac=1",
            "split.train_frac=0.5",
            "split.val_frac=0.5",
            "split.test_frac=0",
        )
        output = tmp_path / str(chunk_bytes)
        job = (cluster, tiny_model, [tmp_path / "a.json.gz"], output, *sets)
        # Equal texts are in one split, so train or val stays empty; the rejects are written nevertheless.
        with pytest.raises(InputError, match="usable rows is in"):
            prepare(*job)
        found = [(r["line"], r["reason"], r["byte_offset"], len(r["raw"])) for r in rejects_of(output)]
        first = len(line) + 1
        assert found == [
            (2, "line_too_long", first, 4096),
            (4, "line_too_long", 2 * first + len(long) + 1, 4096),
        ]
