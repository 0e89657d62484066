"""`verify` finds and names each fault of a scores directory; the tests inject one fault at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.rundir.manifest import to_json
from pipeline.rundir.parts import check_part
from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.commands import RunJob
from tests.score.written import LAST, MIDDLE, PART, RUN, write_chunk, write_scores


def test_complete_directory_has_no_faults_and_its_lines_are_counted(scores: Path) -> None:
    verdict = verify(locate(scores))
    assert verdict.faults == {}
    assert verdict.parts == 5
    a, b = verdict.files
    assert (a.source, a.chunks, a.lines, a.rows, dict(a.rejected)) == ("/in/a", 3, 30, 29, {"empty_text": 1})
    assert (b.source, b.chunks, b.lines, b.rows, dict(b.rejected)) == ("/in/b", 2, 20, 19, {"empty_text": 1})


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def edit(file: Path) -> None:
    """Change one score; keep everything else, including the old checksum."""
    table, metadata = pq.read_table(file), pq.read_metadata(file).metadata
    values = [0.9, *table["score"].to_pylist()[1:]]
    table = table.set_column(1, "score", pa.array(values, pa.float32()))
    with pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({k: v for k, v in metadata.items() if k.startswith(b"rayview")})


def other_settings(folder: Path) -> None:
    write_chunk(folder, 0, 1, RUN.model_copy(update={"settings": {"score": {"precision": "float32"}}}))


def other_model(folder: Path) -> None:
    write_chunk(folder, 0, 1, RUN.model_copy(update={"model_fingerprint": "model 2"}))


def other_input(folder: Path) -> None:
    inputs = [RUN.inputs[0].model_copy(update={"path": "/in/z"}), RUN.inputs[1]]
    write_chunk(folder, 0, 1, RUN.model_copy(update={"inputs": inputs}))


DAMAGE: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "deleted": (lambda d: (d / MIDDLE).unlink(), {MIDDLE: "missing part of /in/a"}),
    "first deleted": (lambda d: (d / PART).unlink(), {PART: "missing part of /in/a"}),
    "end deleted": (lambda d: (d / LAST).unlink(), {LAST: "missing, so the end of /in/a is missing, too"}),
    "all of a file deleted": (
        lambda d: [p.unlink() for p in d.glob("part-00001-*")],
        {"part-00001-000000.parquet": "missing, so the end of /in/b is missing, too"},
    ),
    "doubled": (
        lambda d: shutil.copy(d / MIDDLE, d / "part-00000-000003.parquet"),
        {"part-00000-000003.parquet": f"was written as {MIDDLE}: renamed or copied"},
    ),
    "renamed": (
        lambda d: (d / LAST).rename(d / "part-00000-000007.parquet"),
        {"part-00000-000007.parquet": f"was written as {LAST}: renamed", LAST: "the end of /in/a"},
    ),
    "two exchanged": (
        lambda d: (
            (d / MIDDLE).rename(d / "x"),
            (d / PART).rename(d / MIDDLE),
            (d / "x").rename(d / PART),
        ),
        {PART: f"was written as {MIDDLE}", MIDDLE: f"was written as {PART}"},
    ),
    "cut": (
        lambda d: (d / MIDDLE).write_bytes((d / MIDDLE).read_bytes()[:-40]),
        {MIDDLE: "not a complete Parquet file"},
    ),
    "emptied": (lambda d: (d / MIDDLE).write_bytes(b""), {MIDDLE: "not a complete Parquet file"}),
    "a bit of its data": (lambda d: flip(d / MIDDLE, 60), {MIDDLE: "the checksum differs"}),
    "edited": (lambda d: edit(d / MIDDLE), {MIDDLE: "the checksum differs"}),
    "not ours": (
        lambda d: pq.write_table(pa.table({"line": [1]}), d / MIDDLE),
        {MIDDLE: "has no checksum; rayview did not write it"},
    ),
    "of other settings": (other_settings, {MIDDLE: "belongs to another run, with different settings"}),
    "of another model": (
        other_model,
        {MIDDLE: "was scored by another model, model 2; this directory's model is model 1"},
    ),
    "of another input": (other_input, {MIDDLE: "belongs to /in/z, which is not the input file"}),
    "more than its lines": (
        lambda d: write_chunk(d, 0, 1, lines=11),
        {MIDDLE: "11 lines in, 9 rows and 1 rejected lines out"},
    ),
    "other lines": (
        lambda d: write_chunk(d, 0, 1, first_line=12),
        {
            MIDDLE: "begins at line 12 of /in/a; expected line 11",
            LAST: "begins at line 21 of /in/a; expected line 22",
        },
    ),
    "an end in the middle": (
        lambda d: write_chunk(d, 0, 1, last=True),
        {LAST: "is past the end of /in/a"},
    ),
    "no end": (
        lambda d: write_chunk(d, 0, 2, last=False),
        {"part-00000-000003.parquet": "missing, so the end"},
    ),
    "rejects deleted": (lambda d: (d / "rejects" / MIDDLE).unlink(), {f"rejects/{MIDDLE}": "missing"}),
    "rejects cut": (
        lambda d: flip(d / "rejects" / MIDDLE, 30),
        {f"rejects/{MIDDLE}": "the checksum differs"},
    ),
    "rejects of another": (
        lambda d: shutil.copy(d / "rejects" / "part-00001-000001.parquet", d / "rejects" / PART),
        {f"rejects/{PART}": "belongs to no existing part"},
    ),
    "a stray file": (lambda d: (d / "notes.txt").write_text("x"), {"notes.txt": "not a file of jobs.score"}),
    "a stray copy": (
        lambda d: shutil.copy(d / PART, d / "part-00000-000000 (1).parquet"),
        {"part-00000-000000 (1).parquet": "not a file of jobs.score"},
    ),
    "a temporary": (
        lambda d: (d / ".rayview-tmp-0f-part-00000-000001.parquet").write_bytes(b"PAR1"),
        {".rayview-tmp-0f-part-00000-000001.parquet": "a temporary file"},
    ),
    "unfinished": (
        lambda d: (d / "manifest.json").unlink(),
        {"manifest.json": "missing: the job is not finished"},
    ),
    "a manifest of nothing": (
        lambda d: (d / "manifest.json").write_text("{}"),
        {"manifest.json": "damaged; not a manifest of rayview"},
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_fault_is_found_and_named_once(scores: Path, name: str) -> None:
    damage, expected = DAMAGE[name]
    damage(scores)
    faults = verify(locate(scores)).faults
    # The manifest then differs too, and the rejects of a lost part belong to no part.
    for file, text in faults.items():
        assert (
            file in expected or "manifest.json" in f"{file} {text}" or "belongs to no existing part" in text
        )
    for file, text in expected.items():
        assert text in faults[file]


def test_command_prints_the_ledger_and_each_fault(run_job: RunJob, scores: Path) -> None:
    done = run_job("verify", scores)
    ledger = ["/in/a: 30 lines → 29 scored, 1 empty_text", "/in/b: 20 lines → 19 scored, 1 empty_text"]
    assert (done.code, done.stdout.splitlines()) == (0, ledger)
    said = f"verify: 5 parts of model model 1, complete and unchanged: {scores}"
    assert done.stderr.splitlines() == [said]
    (scores / LAST).unlink()
    (scores / "notes.txt").write_text("x")
    done = run_job("verify", scores)
    assert done.code == 3
    assert done.stdout.splitlines()[2:] == [
        "fault: notes.txt: not a file of jobs.score; move it away",
        f"fault: {LAST}: missing, so the end of /in/a is missing, too",
        "fault: manifest.json: records 30 lines and 29 rows of /in/a; its parts contain 20 lines and 19 rows",
    ]
    assert done.stderr.splitlines() == [f"error: {scores}: 3 faults; see above"]


def test_check_part_detects_a_change_of_any_byte(scores: Path) -> None:
    file = scores / MIDDLE
    whole = file.read_bytes()
    for place in range(len(whole)):
        flip(file, place)
        with pytest.raises(ValueError, match=r"."):
            check_part(locate(file))
        file.write_bytes(whole)
    assert check_part(locate(file)).rows == 9


def test_counts_that_differ_from_the_manifest_are_a_fault(scores: Path) -> None:
    manifest = json.loads((scores / "manifest.json").read_text())
    manifest["counts"]["files"]["/in/b"] |= {"lines": 21, "rows": 20}
    (scores / "manifest.json").write_text(json.dumps(manifest))
    assert verify(locate(scores)).faults == {
        "manifest.json": "records 21 lines and 20 rows of /in/b; its parts contain 20 lines and 19 rows"
    }


def test_files_beyond_max_rows_need_no_parts(tmp_path: Path) -> None:
    run = RUN.model_copy(update={"settings": {"input": {"max_rows": 30}}})
    write_scores(tmp_path, run)
    for file in tmp_path.rglob("part-00001-*"):
        file.unlink()
    faults = verify(locate(tmp_path)).faults
    assert faults
    assert all("manifest.json" in f"{n} {text}" for n, text in faults.items())


def test_chunks_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    """From the millionth chunk of a file on, names no longer sort as numbers."""
    run = RUN.model_copy(update={"inputs": RUN.inputs[:1]})
    write_chunk(tmp_path, 0, 999_999, run, rejects=None, lines=9)
    write_chunk(tmp_path, 0, 1_000_000, run, first_line=10_000_000, last=True)
    (tmp_path / "run.json").write_bytes(to_json(run.model_dump(mode="json")))
    assert set(verify(locate(tmp_path)).faults) == {PART, "manifest.json"}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (None, "contains no run.json; it is not an output of rayview"),
        ("prepare", "holds the output of jobs.prepare; verify needs an output of jobs.score"),
    ],
)
def test_directory_without_scores_is_refused(tmp_path: Path, run: str | None, said: str) -> None:
    if run is not None:
        other = RUN.model_copy(update={"stage": run})
        (tmp_path / "run.json").write_bytes(to_json(other.model_dump(mode="json")))
    with pytest.raises(InputError, match=said):
        verify(locate(tmp_path))
