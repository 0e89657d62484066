"""Lines removed by deduplication are in rejects/, byte for byte as in the dump."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.prepare import stage
from pipeline.prepare.restore_rejects import REMOVED, REMOVED_SCHEMA, Ranges, Restore, restore_lines
from pipeline.prepare.stage import PrepareJob
from pipeline.progress import Meter, Reporter
from pipeline.rundir.parts import write_part
from pipeline.runtime.pools import Pool
from tests.prepare import small_job
from tests.prepare.small_job import Row, parquet_rows

ROWS = 60
TEXTS = [f"shirt\nnumber {i % 20}" for i in range(ROWS)]
STARS = [float(i % 20 % 5 + 1) for i in range(ROWS)]


def plan(model: Path, inputs: list[Path], output: Path, *sets: str) -> PrepareJob:
    sets += ("split.train_frac=0.5", "split.val_frac=0.4", "split.test_frac=0.1")
    return small_job.plan(model, inputs, output, "input.chunk_bytes=1024", *sets)


def rejects_of(output: Path) -> list[Row]:
    return parquet_rows(output, "rejects/duplicates-*")


def check_lines(rejects: list[Row], records: dict[str, list[bytes]], whole: dict[str, bytes]) -> None:
    """Check lines and offsets of rejects against the records and the text of each file of `write_dumps`."""
    for row in rejects:
        if row["source"] not in whole:
            assert row["byte_offset"] is None
            assert json.loads(row["raw"])["text"] == TEXTS[row["line"] - 1]
            continue
        assert row["raw"] == records[row["source"]][row["line"] - 1]
        line = row["raw"] + b"\n"[: row["line"] < 60]
        assert whole[row["source"]][row["byte_offset"] :].startswith(line)


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
def test_rejects_hold_each_duplicate_verbatim(cluster: Any, tiny_model: Path, tmp_path: Path) -> None:
    records, whole = write_dumps(tmp_path / "in")
    manifest = stage.prepare(plan(tiny_model, [tmp_path / "in"], tmp_path / "out"), cluster, Reporter())
    assert manifest.counts is not None
    assert manifest.counts.rejected == {"duplicate": 3 * ROWS - 20}
    rejects = rejects_of(tmp_path / "out")
    first, *others = sorted(records)
    expected = [(first, line) for line in range(21, 61)] + [(o, n) for o in others for n in range(1, 61)]
    assert [(r["source"], r["line"]) for r in rejects] == expected
    assert all(r["reason"] == "duplicate" for r in rejects)
    for row in rejects:
        assert row["detail"] == f"same text as {first}, line {(row['line'] - 1) % 20 + 1}"
    check_lines(rejects, records, whole)
    assert {o.path for o in manifest.outputs if o.path.startswith("rejects/")} == {
        str(f.relative_to(tmp_path / "out")) for f in (tmp_path / "out" / "rejects").iterdir()
    }
    assert not (tmp_path / "out" / "removed").exists()


@pytest.mark.ray
@pytest.mark.parametrize("range_lines", [60, 17])
def test_lines_are_restored_for_any_division_into_ranges(
    cluster: Any, tiny_model: Path, tmp_path: Path, range_lines: int
) -> None:
    records, whole = write_dumps(tmp_path / "in")
    job = plan(tiny_model, [tmp_path / "in"], tmp_path / "out")
    removed = [(file, line) for file in range(3) for line in range(1, ROWS + 1) if file or line > 20]
    # In order of text, as after the shuffle, and in two parts.
    removed.sort(key=lambda place: (place[1] % 20, place))
    parts = []
    for number, places in enumerate((removed[:70], removed[70:])):
        rows = [{"file": f, "line": n, "reason": "duplicate", "detail": f"{f} {n}"} for f, n in places]
        table = pa.Table.from_pylist(rows, schema=REMOVED_SCHEMA)
        parts.append(write_part(job.output, f"{REMOVED}/part-{number:05d}.parquet", table, temporary=True))
    ranges = replace(Ranges.of([ROWS] * 3), width=range_lines)
    work = Restore(job.output.uri, stage.read_plan(job), job.recipe.parse_options(), ranges)
    outputs = restore_lines(parts, job.sources, work, Pool(1, 1.0), Reporter())
    rejects, names = rejects_of(tmp_path / "out"), sorted(records)
    assert [(r["source"], r["line"]) for r in rejects] == [(names[f], n) for f, n in sorted(removed)]
    assert [r["detail"] for r in rejects] == [f"{f} {n}" for f, n in sorted(removed)]
    check_lines(rejects, records, whole)
    assert {o.path for o in outputs} == {
        f"rejects/{f.name}" for f in (tmp_path / "out" / "rejects").iterdir()
    }


@pytest.mark.ray
def test_rejects_hold_conflicting_stars_but_no_lines_beyond_max_rows(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    lines = json_lines()
    lines[25] = lines[25].replace(b'"overall": 1.0', b'"overall": 2.0')
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_bytes(b"\n".join(lines) + b"\n")
    second.write_bytes(b"\n".join(lines))
    sets = ("dedup.conflict=drop", "input.max_rows=75")
    manifest = stage.prepare(plan(tiny_model, [first, second], tmp_path / "out", *sets), cluster, Reporter())
    conflicting = [(str(first), 6), (str(first), 26), (str(first), 46), (str(second), 6)]
    assert manifest.counts is not None
    assert manifest.counts.rejected == {"duplicate": 75 - 19 - 4, "conflicting_stars": 4}
    rejects = rejects_of(tmp_path / "out")
    dropped = [r for r in rejects if r["reason"] == "conflicting_stars"]
    assert [(r["source"], r["line"]) for r in dropped] == conflicting
    assert all(r["raw"] == lines[r["line"] - 1] for r in rejects)
    found = [(r["source"], r["line"]) for r in rejects]
    expected = [(str(first), n) for n in range(21, 61)] + [(str(second), n) for n in range(1, 16)]
    assert found == sorted({*expected, *conflicting})


class Truncating(Reporter):
    """Reporter that truncates the dump when the first pass is over."""

    def __init__(self, file: Path, content: bytes) -> None:
        super().__init__()
        self._file, self._content = file, content

    @contextmanager
    def meter(self, what: str) -> Iterator[Meter]:
        """See Reporter."""
        if what == "shuffle":
            self._file.write_bytes(self._content)
        with super().meter(what) as meter:
            yield meter


@pytest.mark.ray
def test_dump_that_changes_during_the_job_is_reported_and_no_state_is_kept(
    cluster: Any, tiny_model: Path, tmp_path: Path
) -> None:
    file, lines = tmp_path / "a.json", json_lines()
    sets = ("input.max_rejected_frac=0.5",)
    file.write_bytes(b"\n".join(lines))
    job = plan(tiny_model, [file], tmp_path / "out", *sets)
    with pytest.raises(InputError, match=r"a\.json: changed while the job was running: line 51 is gone"):
        stage.prepare(job, cluster, Truncating(file, b"\n".join(lines[:50])))
    assert not (tmp_path / "out" / "manifest.json").exists()
    # The workers have nothing left of it, and nothing of a job that finished.
    for content in (lines, [*lines[:20], b"{}", *lines[20:]]):
        file.write_bytes(b"\n".join(content))
        job = plan(tiny_model, [file], tmp_path / "out", *sets)
        stage.prepare(job, cluster, Reporter(), overwrite=True)
        rejects = rejects_of(tmp_path / "out")
        assert len(rejects) == 40
        assert [r["raw"] for r in rejects] == [content[r["line"] - 1] for r in rejects]
        assert [r["line"] for r in rejects] == [n + 1 for n, line in enumerate(content) if line in lines[20:]]


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
