"""Lines removed by deduplication are in rejects/, byte for byte as in the dump."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.prepare import restore_rejects, stage
from pipeline.prepare.restore_rejects import REMOVED_SCHEMA, Ranges
from pipeline.prepare.stage import PrepareJob
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Manifest
from pipeline.settings import load_config

ROWS = 60
TEXTS = [f"shirt\nnumber {i % 20}" for i in range(ROWS)]
STARS = [float(i % 20 % 5 + 1) for i in range(ROWS)]


def plan(model: Path, inputs: list[Path], output: Path, *sets: str) -> PrepareJob:
    common = (f"model.name={model}", "tokenize.max_length=16", "input.chunk_bytes=1024", *sets)
    common += ("split.train_frac=0.5", "split.val_frac=0.4", "split.test_frac=0.1")
    return stage.plan([str(i) for i in inputs], str(output), load_config(None, common))


def prepare(cluster: Any, job: PrepareJob) -> Manifest:
    return stage.prepare(job, cluster, Reporter())


def rejects_of(output: Path) -> list[dict[str, Any]]:
    return [
        r for f in sorted((output / "rejects").glob("duplicates-*")) for r in pq.read_table(f).to_pylist()
    ]


def json_lines() -> list[bytes]:
    rows = [{"reviewText": t, "overall": s} for t, s in zip(TEXTS, STARS, strict=True)]
    return [json.dumps(r | {"asin": f"B{i}"}).encode() for i, r in enumerate(rows)]


def csv_lines() -> list[bytes]:
    lines = []
    for text, stars in [("review_body", "star_rating"), *zip(TEXTS, STARS, strict=True)]:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([text, stars])
        lines.append(line.getvalue().encode().removesuffix(b"\n"))
    return lines


def write_dumps(folder: Path) -> tuple[dict[str, list[bytes]], dict[str, bytes]]:
    """Write the same reviews in each syntax; return their records, and the whole text, by path."""
    folder.mkdir()
    lines, names = json_lines(), [str(folder / n) for n in ("a.json.gz", "b.csv", "c.parquet")]
    members = [b"\n".join(lines[:31]) + b"\n", b"\n".join(lines[31:])]
    Path(names[0]).write_bytes(b"".join(map(gzip.compress, members)))
    table = csv_lines()
    Path(names[1]).write_bytes(b"\n".join(table) + b"\n")
    pq.write_table(pa.table({"text": TEXTS, "stars": STARS, "business_id": ["B"] * ROWS}), names[2])
    records = dict(zip(names, (lines, table[1:], []), strict=True))
    return records, {names[0]: b"".join(members), names[1]: b"\n".join(table) + b"\n"}


@pytest.mark.ray
@pytest.mark.parametrize("range_lines", [1 << 20, 60, 17])
def test_rejects_hold_each_duplicate_verbatim(
    cluster: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, range_lines: int
) -> None:
    monkeypatch.setattr(restore_rejects, "_RANGE_LINES", range_lines)
    records, whole = write_dumps(tmp_path / "in")
    manifest = prepare(cluster, plan(tiny_model, [tmp_path / "in"], tmp_path / "out"))
    assert manifest.counts is not None
    assert manifest.counts.rejected == {"duplicate": 3 * ROWS - 20}
    rejects = rejects_of(tmp_path / "out")
    first, *others = sorted(records)
    expected = [(first, line) for line in range(21, 61)] + [(o, n) for o in others for n in range(1, 61)]
    assert [(r["source"], r["line"]) for r in rejects] == expected
    for row in rejects:
        assert row["reason"] == "duplicate"
        assert row["detail"] == f"same text as {first}, line {(row['line'] - 1) % 20 + 1}"
        if row["source"] in whole:
            assert row["raw"] == records[row["source"]][row["line"] - 1]
            assert whole[row["source"]][row["byte_offset"] :].startswith(
                row["raw"] + b"\n"[: row["line"] < 60]
            )
        else:
            assert row["byte_offset"] is None
            assert json.loads(row["raw"])["text"] == TEXTS[row["line"] - 1]
    assert {o.path for o in manifest.outputs if o.path.startswith("rejects/")} == {
        str(f.relative_to(tmp_path / "out")) for f in (tmp_path / "out" / "rejects").iterdir()
    }
    assert not (tmp_path / "out" / "removed").exists()


@pytest.mark.ray
def test_lines_beyond_max_rows_are_not_restored(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    records, _ = write_dumps(tmp_path / "in")
    first, second, _ = sorted(records)
    manifest = prepare(cluster, plan(tiny_model, [tmp_path / "in"], tmp_path / "out", "input.max_rows=75"))
    assert manifest.counts is not None
    assert manifest.counts.rejected == {"duplicate": 55}
    found = [(r["source"], r["line"]) for r in rejects_of(tmp_path / "out")]
    assert found == [(first, n) for n in range(21, 61)] + [(second, n) for n in range(1, 16)]


@pytest.mark.ray
def test_rejects_hold_rows_with_conflicting_stars(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    lines = json_lines()
    lines[25] = lines[25].replace(b'"overall": 1.0', b'"overall": 2.0')
    (tmp_path / "a.json").write_bytes(b"\n".join(lines))
    job = plan(tiny_model, [tmp_path / "a.json"], tmp_path / "out", "dedup.conflict=drop")
    prepare(cluster, job)
    dropped = [r for r in rejects_of(tmp_path / "out") if r["reason"] == "conflicting_stars"]
    assert [(r["line"], r["raw"]) for r in dropped] == [(n, lines[n - 1]) for n in (6, 26, 46)]


@pytest.mark.ray
def test_dump_that_changes_during_the_job_is_reported(
    cluster: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"\n".join(json_lines()))
    job = plan(tiny_model, [file], tmp_path / "out")
    restore = stage._restore

    def late(*arguments: Any) -> Any:
        file.write_bytes(b"\n".join(json_lines()[:50]))
        return restore(*arguments)

    monkeypatch.setattr(stage, "_restore", late)
    with pytest.raises(InputError, match=r"a\.json: changed while the job was running: line 51 is gone"):
        prepare(cluster, job)
    assert not (tmp_path / "out" / "manifest.json").exists()


@given(lines=st.lists(st.integers(0, 9), min_size=1, max_size=6), width=st.integers(1, 12))
def test_each_line_has_one_position_in_one_range_of_its_file(lines: list[int], width: int) -> None:
    ranges = Ranges(Ranges.of(lines).firsts, width)
    rows = [(file, line) for file, n in enumerate(lines) for line in range(1, n + 1)]
    table = pa.Table.from_pylist([{"file": f, "line": n} for f, n in rows], schema=REMOVED_SCHEMA)
    places = ranges.places(table)
    assert places.tolist() == list(range(sum(lines)))
    numbers = np.searchsorted(ranges.edges(), places, side="right")
    assert numbers.tolist() == (places // width).tolist()
    for file in range(len(lines)):
        own = {int(number) for number, (f, _) in zip(numbers, rows, strict=True) if f == file}
        assert own <= {*ranges.of_file(file)}
    assert len(ranges.edges()) >= 1


@pytest.mark.ray
def test_workers_keep_no_state_of_an_earlier_job(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    file, lines = tmp_path / "a.json", json_lines()
    for content in (lines, [*lines[:20], b"{}", *lines[20:]]):
        file.write_bytes(b"\n".join(content))
        job = plan(tiny_model, [file], tmp_path / "out", "input.max_rejected_frac=0.5")
        stage.prepare(job, cluster, Reporter(), overwrite=True)
        rejects = rejects_of(tmp_path / "out")
        assert len(rejects) == 40
        assert [r["raw"] for r in rejects] == [content[r["line"] - 1] for r in rejects]
        assert [r["line"] for r in rejects] == [n + 1 for n, line in enumerate(content) if line in lines[20:]]
