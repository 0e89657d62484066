"""Whose a directory is, whether it is finished, and what may be deleted in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, OutputError, RayviewError
from pipeline.manifest import (
    Counts,
    InputFile,
    Manifest,
    Run,
    read_manifest,
    read_run,
    write_manifest,
)
from pipeline.outputs import State, begin, check_output, inspect_output
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
