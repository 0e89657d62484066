"""run.json first, manifest.json last: whose directory it is, and whether it is finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import AccountingError, InputError, OutputError, RayviewError
from pipeline.manifest import (
    Counts,
    FileCounts,
    InputFile,
    Manifest,
    OutputFile,
    Run,
    State,
    begin,
    check_output,
    environment,
    inspect_output,
    read_manifest,
    read_run,
    write_manifest,
)
from pipeline.storage import Location, locate

FILES = [InputFile(path=f"/in/{n}", size_bytes=1, fingerprint=n * 4) for n in "abc"]
RUN = Run(stage="score", inputs=FILES, model_fingerprint="m1", settings={"score": {"precision": "auto"}})


def manifest_of(run: Run, **values: Any) -> Manifest:
    data: dict[str, Any] = {
        "config": {},
        "config_digest": "d",
        "outputs": [],
        "seconds": 1.5,
        "environment": {},
    }
    return Manifest(stage=run.stage, inputs=run.inputs, **data | values)


@pytest.fixture
def out(tmp_path: Path) -> Location:
    return locate(tmp_path / "out")


def listing(where: Location) -> list[str]:
    return [f.name for f in where.list_files()]


def test_a_directory_goes_from_fresh_to_unfinished_to_finished(out: Location) -> None:
    assert inspect_output(out, RUN) is State.FRESH
    assert not out.exists()
    assert begin(out, RUN) is State.FRESH
    assert listing(out) == ["run.json"]
    assert begin(out, RUN) is State.UNFINISHED
    with pytest.raises(InputError, match=r"out: unfinished score \(no manifest.json\)"):
        read_manifest(out, "score")
    manifest = manifest_of(RUN, counts=Counts(lines=3, rows=2, rejected={"bad_json": 1}))
    write_manifest(out, manifest)
    assert begin(out, RUN) is State.FINISHED
    assert read_manifest(out, "score") == manifest
    assert read_run(out) == RUN


def test_an_existing_empty_directory_is_fresh(out: Location) -> None:
    Path(out.path).mkdir()
    assert begin(out, RUN) is State.FRESH


def test_what_was_resolved_first_is_kept_and_makes_no_difference(out: Location) -> None:
    begin(out, RUN.model_copy(update={"resolved": {"chunk_bytes": 1}}))
    assert begin(out, RUN.model_copy(update={"resolved": {"chunk_bytes": 2}})) is State.UNFINISHED
    assert read_run(out).resolved == {"chunk_bytes": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_fingerprint": "m2"}, "model: m1 there, m2 now"),
        ({"settings": {"score": {"precision": "float32"}}}, "score.precision: auto there, float32 now"),
        ({"stage": "prepare"}, "stage: score there, prepare now"),
        ({"inputs": FILES[:2]}, "inputs./in/c: file 2, cccc there, None now"),
        (
            {"inputs": [FILES[0].model_copy(update={"fingerprint": "zzzz"}), *FILES[1:]]},
            "inputs./in/a: file 0, aaaa there, file 0, zzzz now",
        ),
        # Parts are named after the number of the file: in another order they would be mixed up.
        (
            {"inputs": [FILES[1], FILES[0], FILES[2]]},
            "inputs./in/a: file 0, aaaa there, file 1, aaaa now; inputs./in/b: file 1, bbbb there,"
            " file 0, bbbb now",
        ),
    ],
)
def test_another_run_is_refused_and_the_differences_named(
    out: Location, change: dict[str, Any], words: str
) -> None:
    begin(out, RUN)
    with pytest.raises(OutputError) as raised:
        begin(out, RUN.model_copy(update=change))
    assert str(raised.value) == (
        f"{out.uri}: exists and holds another run ({words}); choose another --output, or --overwrite"
    )
    assert read_run(out) == RUN


def test_many_differences_are_counted(out: Location) -> None:
    begin(out, RUN)
    other = RUN.model_copy(update={"settings": {f"s{i}": i for i in range(7)}})
    with pytest.raises(OutputError, match="; and 3 more"):
        inspect_output(out, other)


def test_other_things_are_left_alone_even_with_overwrite(out: Location) -> None:
    out.child("notes.txt").write_bytes(b"mine")
    for overwrite in (False, True):
        for function in (begin, check_output):
            with pytest.raises(OutputError, match="exists and was not written by rayview"):
                function(out, RUN, overwrite=overwrite)
    assert listing(out) == ["notes.txt"]


@pytest.mark.parametrize("content", [b"{}", b'{"name": "my run"}', b"[1]", b"not json", b""])
def test_a_run_json_of_something_else_is_no_leave_to_delete(out: Location, content: bytes) -> None:
    out.child("run.json").write_bytes(content)
    out.child("notes.txt").write_bytes(b"mine")
    for function in (begin, check_output):
        with pytest.raises(RayviewError, match=r"run\.json: damaged; it is not a run\.json of rayview"):
            function(out, RUN, overwrite=True)
    assert listing(out) == ["notes.txt", "run.json"]


def test_overwrite_starts_afresh_in_a_directory_of_ours(out: Location) -> None:
    begin(out, RUN.model_copy(update={"model_fingerprint": "m2"}))
    out.child("part-00000-000000.parquet").write_bytes(b"old")
    check_output(out, RUN, overwrite=True)
    assert "part-00000-000000.parquet" in listing(out)
    assert begin(out, RUN, overwrite=True) is State.FRESH
    assert listing(out) == ["run.json"]


def test_check_output_changes_nothing(out: Location) -> None:
    check_output(out, RUN)
    check_output(out, RUN, overwrite=True)
    assert not out.exists()
    begin(out, RUN)
    check_output(out, RUN)
    with pytest.raises(OutputError, match="holds another run"):
        check_output(out, RUN.model_copy(update={"stage": "train"}))


def test_a_file_in_place_of_the_directory(out: Location) -> None:
    out.write_bytes(b"x")
    with pytest.raises(OutputError, match="this is a file; choose a directory for --output"):
        begin(out, RUN)
    with pytest.raises(OutputError, match="cannot be written to"):
        begin(out.child("below"), RUN)


def test_reading_says_what_is_wrong(out: Location) -> None:
    with pytest.raises(InputError, match="no such directory"):
        read_manifest(out, "prepare")
    out.child("a").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no manifest\.json there; it is not an output of rayview"):
        read_manifest(out, "prepare")
    with pytest.raises(InputError, match=r"no run\.json there; it is not an output of rayview"):
        read_run(out)
    for damaged in (b'{"stage": "prep', b"{}", b"[]", b"\xff"):
        out.child("manifest.json").write_bytes(damaged)
        with pytest.raises(InputError, match=r"manifest\.json: damaged"):
            read_manifest(out, "prepare")
    write_manifest(out, manifest_of(RUN))
    with pytest.raises(InputError, match=r"holds the output of jobs\.score, not of jobs\.prepare"):
        read_manifest(out, "prepare")


def test_a_manifest_that_does_not_add_up_is_not_written(out: Location) -> None:
    counts = Counts(lines=10, rows=8, rejected={"bad_json": 1})
    with pytest.raises(AccountingError, match=r"10 lines in, but 8 rows and 1 rejected lines out"):
        write_manifest(out, manifest_of(RUN, counts=counts))
    assert not out.exists()


def test_the_keys_that_others_read_are_on_disk(out: Location) -> None:
    file = FileCounts(lines=3, rows=2, rejected={"bad_json": 1})
    counts = Counts(lines=3, rows=2, rejected={"bad_json": 1}, splits={"train": 2}, files={"/in/a": file})
    outputs = [OutputFile(path="train/a.parquet", rows=2, bytes=9)]
    write_manifest(out, manifest_of(RUN, counts=counts, outputs=outputs, environment=environment()))
    data = json.loads(out.child("manifest.json").read_bytes())
    keys = "stage version config config_digest inputs outputs model_fingerprint counts seconds environment"
    assert set(keys.split()) <= set(data)
    whole = {"lines": 3, "rows": 2, "rejected": {"bad_json": 1}}
    assert data["counts"] == {**whole, "splits": {"train": 2}, "files": {"/in/a": whole}}
    assert data["inputs"][0] == {"path": "/in/a", "size_bytes": 1, "fingerprint": "aaaa"}
    assert data["outputs"] == [{"path": "train/a.parquet", "rows": 2, "bytes": 9}]
    assert data["environment"]["packages"]["pyarrow"]


def test_a_manifest_of_a_later_version_with_more_keys_is_read(out: Location) -> None:
    write_manifest(out, manifest_of(RUN))
    data = json.loads(out.child("manifest.json").read_bytes()) | {"new_key": 1}
    out.child("manifest.json").write_bytes(json.dumps(data).encode())
    assert read_manifest(out, "score") == manifest_of(RUN)


def test_an_input_file_is_described_as_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    before = InputFile.of(locate(tmp_path / "a"))
    assert (before.path, before.size_bytes) == (f"{tmp_path}/a", 5)
    (tmp_path / "a").write_bytes(b"12346")
    after = InputFile.of(locate(tmp_path / "a"))
    assert after.size_bytes == 5
    assert after.fingerprint != before.fingerprint
