"""Ownership and state of an output directory, and which of its files may be deleted."""

from __future__ import annotations

import errno
import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from pipeline.details import ScoreDetails
from pipeline.errors import InputError, OutputError, RayviewError
from pipeline.rundir import claim as module
from pipeline.rundir import lease
from pipeline.rundir.claim import State, begin, check_apart, check_output, inspect_output, release_outputs
from pipeline.rundir.lease import LEASE_FILE, Lease, LeaseTiming
from pipeline.rundir.manifest import Counts, OutputFile, Run, read_manifest, read_run, to_json, write_manifest
from pipeline.storage.location import Location, locate
from pipeline.storage.objectstore import TEMPORARY_MARK
from tests.runs import DECLARATIONS, FILES, RUN, manifest_of, run_of

ROOT = Path(__file__).resolve().parents[2]


def listing(where: Location) -> list[str]:
    return [f.name for f in where.list_files()]


def test_directory_goes_from_fresh_to_unfinished_to_finished(out: Location) -> None:
    assert inspect_output(out, RUN) is State.FRESH
    assert not out.exists()
    assert begin(out, RUN) is State.FRESH
    assert listing(out) == ["run.json"]
    assert begin(out, RUN) is State.UNFINISHED
    with pytest.raises(InputError, match=r"out: unfinished score \(no manifest.json\)"):
        read_manifest(out, ScoreDetails)
    manifest = manifest_of(RUN, counts=Counts(lines=3, rows=2, rejected={"bad_json": 1}))
    write_manifest(out, manifest)
    assert begin(out, RUN) is State.FINISHED
    assert read_manifest(out, ScoreDetails) == manifest
    assert read_run(out) == RUN


def test_existing_empty_directory_is_fresh(out: Location) -> None:
    Path(out.path).mkdir()
    assert begin(out, RUN) is State.FRESH


def test_resolved_settings_are_kept_and_not_compared(out: Location) -> None:
    begin(out, RUN.model_copy(update={"resolved": {"chunk_bytes": 1}}))
    assert begin(out, RUN.model_copy(update={"resolved": {"chunk_bytes": 2}})) is State.UNFINISHED
    assert read_run(out).resolved == {"chunk_bytes": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_fingerprint": "m2"}, "model: the existing run has m1, this run has m2"),
        (
            {"settings": {"score": {"precision": "float32"}}},
            "score.precision: the existing run has auto, this run has float32",
        ),
        ({"inputs": FILES[:2]}, "inputs./in/c: the existing run has file 2, cccc, this run has none"),
        (
            {"inputs": [FILES[0].model_copy(update={"fingerprint": "zzzz"}), *FILES[1:]]},
            "inputs./in/a: the existing run has file 0, aaaa, this run has file 0, zzzz",
        ),
        # Parts are named after the number of the file, so the order of the inputs matters.
        (
            {"inputs": [FILES[1], FILES[0], FILES[2]]},
            "inputs./in/a: the existing run has file 0, aaaa, this run has file 1, aaaa;"
            " inputs./in/b: the existing run has file 1, bbbb, this run has file 0, bbbb",
        ),
    ],
)
def test_another_run_is_refused_and_the_differences_are_named(
    out: Location, change: dict[str, Any], words: str
) -> None:
    begin(out, RUN)
    with pytest.raises(OutputError) as raised:
        begin(out, RUN.model_copy(update=change))
    assert str(raised.value) == (
        f"{out.uri}: holds another run ({words}); choose another --output, or use --overwrite"
    )
    assert read_run(out) == RUN


def finish(out: Location, run: Run) -> None:
    begin(out, run)
    write_manifest(out, manifest_of(run))


MORE = RUN.model_copy(
    update={"inputs": [*FILES, FILES[0].model_copy(update={"path": "/in/d"})], "resolved": {"x": 2}}
)


def test_extend_adds_inputs_to_a_finished_output(out: Location) -> None:
    finish(out, RUN.model_copy(update={"resolved": {"x": 1}}))
    with pytest.raises(OutputError, match=r"/in/d: the existing run has none, this run has file 3, aaaa"):
        begin(out, MORE)
    assert check_output(out, MORE, extend=True) is State.EXTENDED
    assert read_run(out).inputs == FILES
    assert begin(out, MORE, extend=True) is State.EXTENDED
    assert listing(out) == ["run.json"]
    assert (read_run(out).inputs, read_run(out).resolved) == (MORE.inputs, {"x": 1})
    # From here on the extended run behaves like any other.
    for extend in (True, False):
        assert begin(out, MORE, extend=extend) is State.UNFINISHED
    write_manifest(out, manifest_of(MORE))
    for extend in (True, False):
        assert begin(out, MORE, extend=extend) is State.FINISHED


def test_extend_refuses_an_unfinished_output(out: Location) -> None:
    begin(out, RUN)
    with pytest.raises(
        OutputError, match="--extend needs a finished output; first rerun the command without"
    ):
        begin(out, MORE, extend=True)
    assert read_run(out) == RUN


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_fingerprint": "m2"}, "model: the existing run has m1, this run has m2"),
        ({"inputs": MORE.inputs[1:]}, "inputs./in/a: the existing run has file 0, aaaa, this run has none"),
        (
            {"inputs": [MORE.inputs[3], *FILES]},
            "inputs./in/a: the existing run has file 0, aaaa, this run has file 1, aaaa",
        ),
        (
            {"inputs": [FILES[0].model_copy(update={"fingerprint": "zzzz"}), *MORE.inputs[1:]]},
            r"inputs./in/a: the existing run has file 0, aaaa, this run has file 0, zzzz\)",
        ),
    ],
)
def test_extend_refuses_other_changes(out: Location, change: dict[str, Any], words: str) -> None:
    finish(out, RUN)
    with pytest.raises(OutputError, match=words):
        begin(out, MORE.model_copy(update=change), extend=True)
    assert begin(out, RUN) is State.FINISHED


def test_kill_during_extend_leaves_an_unfinished_output(
    out: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(out, RUN)

    def broken(_: Location) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Location, "delete_file", broken)
        with pytest.raises(KeyboardInterrupt):
            begin(out, MORE, extend=True)
    # The old manifest still exists, but belongs to the run without the new inputs.
    assert listing(out) == ["manifest.json", "run.json"]
    for extend in (True, False):
        assert check_output(out, MORE, extend=extend) is State.UNFINISHED


def test_many_differences_are_counted(out: Location) -> None:
    begin(out, RUN)
    other = RUN.model_copy(update={"settings": {f"s{i}": i for i in range(7)}})
    with pytest.raises(OutputError, match="; and 3 more"):
        inspect_output(out, other)


def test_other_files_are_kept_even_with_overwrite(out: Location) -> None:
    out.child("notes.txt").write_bytes(b"mine")
    for overwrite in (False, True):
        for function in (begin, check_output):
            with pytest.raises(OutputError, match="exists and was not written by rayview"):
                function(out, RUN, overwrite=overwrite)
    assert listing(out) == ["notes.txt"]


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"name": "my run"}',
        b'{"stage": "mine"}',
        b'{"stage": "score", "settings": {}}',
        b'{"stage": "a\\nb", "version": "1", "inputs": [], "model_fingerprint": null, "settings": {},'
        b' "resolved": {}}',
        b"[1]",
        b"not json",
        b"",
    ],
)
def test_foreign_run_json_does_not_allow_deletion(out: Location, content: bytes) -> None:
    out.child("run.json").write_bytes(content)
    out.child("notes.txt").write_bytes(b"mine")
    for function in (begin, check_output):
        with pytest.raises(RayviewError, match=r"run\.json: damaged; it is not a run\.json of rayview"):
            function(out, RUN, overwrite=True)
    assert listing(out) == ["notes.txt", "run.json"]


def test_overwrite_clears_a_directory_of_the_same_stage(out: Location) -> None:
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
    with pytest.raises(OutputError, match=r"holds the output of jobs\.score, not of jobs\.train"):
        check_output(out, run_of("train"))


def test_output_path_that_is_a_file_is_refused(out: Location) -> None:
    out.write_bytes(b"x")
    with pytest.raises(OutputError, match="this is a file; choose a directory for --output"):
        begin(out, RUN)
    with pytest.raises(OutputError, match="cannot be written to"):
        begin(out.child("below"), RUN)


@pytest.mark.parametrize("overwrite", [False, True])
def test_output_of_another_stage_is_never_overwritten(out: Location, overwrite: bool) -> None:
    run = finished(out, "prepare")
    before = out.sizes()
    for function in (begin, check_output):
        with pytest.raises(OutputError) as raised:
            function(out, RUN, overwrite=overwrite)
        assert str(raised.value) == (
            f"{out.uri}: holds the output of jobs.prepare, not of jobs.score; choose another --output, or"
            " delete that directory"
        )
    assert out.sizes() == before
    assert begin(out, run) is State.FINISHED


WRITTEN = {
    "prepare": ["train/part-00000.parquet", "val/part-00000.parquet", "rejects/duplicates-00001.parquet"],
    "train": ["model.safetensors", "tokenizer.json", "config.json", "rayview.json"],
    "score": ["part-00000-000000.parquet", "part-00000-000001.parquet", "rejects/part-00000-000000.parquet"],
    "evaluate": ["metrics.json", "roc.png", "confusion.png", "report.html"],
}
LEFT = {
    "prepare": [
        "encoded/part-00000-000000.parquet",
        "card.md",
        f"train/{TEMPORARY_MARK}1-part-00001.parquet",
    ],
    "train": ["checkpoints/checkpoint_manager_snapshot.json", "checkpoints/checkpoint_1/state.json"],
    "score": [f"{TEMPORARY_MARK}1-part-00000-000002.parquet"],
    "evaluate": [],
}
"""Other files that an unfinished directory may contain."""


def finished(out: Location, stage: str) -> Run:
    """Write a directory as a finished stage leaves it."""
    run = run_of(stage)
    begin(out, run)
    for name in WRITTEN[stage]:
        out.child(name).write_bytes(b"rows")
    outputs = [OutputFile(path=name, bytes=4) for name in WRITTEN[stage]]
    write_manifest(out, manifest_of(run, outputs=outputs))
    return run


def unfinished(out: Location, stage: str, others: list[str]) -> Run:
    """Write a directory as a killed stage leaves it, with other files in it."""
    run = finished(out, stage)
    out.child("manifest.json").delete_file()
    for name in others:
        out.child(name).write_bytes(b"rows")
    return run


class Killed(BaseException):
    """Simulated kill of the process."""


def kill_after(monkeypatch: pytest.MonkeyPatch, deletions: int, backwards: bool) -> None:
    """Raise `Killed` after a number of deletions; a folder is deleted in either order of names."""
    left, lock = [deletions], Lock()

    def delete_file(file: Location) -> None:
        with lock:
            if not left[0]:
                raise Killed
            left[0] -= 1
            Path(file.path).unlink()

    def delete_tree(folder: Location) -> None:
        for name in sorted(folder.sizes(), reverse=backwards):
            delete_file(folder.child(name))
        shutil.rmtree(folder.path, ignore_errors=True)

    monkeypatch.setattr(Location, "delete_file", delete_file, raising=False)
    monkeypatch.setattr(Location, "delete_tree", delete_tree)


@pytest.mark.parametrize("stage", WRITTEN)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_kill_during_overwrite_leaves_an_unfinished_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, backwards: bool, other: bool
) -> None:
    for deletions in range(len(WRITTEN[stage] + LEFT[stage]) + 2):
        out = locate(tmp_path / str(deletions))
        run = existing = finished(out, stage)
        if other:
            run = existing.model_copy(update={"model_fingerprint": "m2"})
        for name in LEFT[stage]:
            out.child(name).write_bytes(b"rows")
        with monkeypatch.context() as patch:
            kill_after(patch, deletions, backwards)
            with pytest.raises(Killed):
                begin(out, run, overwrite=True)
        if deletions:
            assert inspect_output(out, existing) is State.UNFINISHED
            # Ray reads the checkpoints that this file names.
            if (Path(out.path) / LEFT["train"][0]).exists():
                assert (Path(out.path) / LEFT["train"][1]).exists()
        assert begin(out, run, overwrite=True) is State.FRESH
        assert list(out.sizes()) == ["run.json"]


@pytest.mark.parametrize("stage", ["prepare", "evaluate"])
@pytest.mark.parametrize("backwards", [False, True])
def test_kill_during_a_restart_leaves_an_unfinished_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, backwards: bool
) -> None:
    for deletions in range(len(WRITTEN[stage] + LEFT[stage]) + 1):
        out = locate(tmp_path / str(deletions))
        run = unfinished(out, stage, LEFT[stage])
        with monkeypatch.context() as patch:
            kill_after(patch, deletions, backwards)
            with pytest.raises(Killed):
                begin(out, run)
        assert inspect_output(out, run) is State.UNFINISHED
        assert begin(out, run) is State.FRESH
        assert list(out.sizes()) == ["run.json"]


@pytest.mark.parametrize("stage", WRITTEN)
@pytest.mark.parametrize("name", ["notes.txt", "dump.json", "train/notes.txt", ".hidden"])
def test_directory_with_a_foreign_file_is_not_overwritten(out: Location, stage: str, name: str) -> None:
    run = finished(out, stage)
    out.child(name).write_bytes(b"mine")
    before = out.sizes()
    assert begin(out, run) is State.FINISHED
    for function in (begin, check_output):
        with pytest.raises(OutputError) as raised:
            function(out, run.model_copy(update={"settings": {}}), overwrite=True)
        assert str(raised.value) == (
            f"{out.uri}: not overwritten, because it contains {name}, which jobs.{stage} did not write; move"
            " that file away, or choose another --output"
        )
    assert out.sizes() == before


@pytest.mark.parametrize("stage", WRITTEN)
def test_only_stages_that_resume_accept_a_foreign_file(out: Location, stage: str) -> None:
    run = unfinished(out, stage, ["notes.txt"])
    before = out.sizes()
    for function in (begin, check_output):
        if DECLARATIONS[stage].resumes:
            assert function(out, run) is State.UNFINISHED
        else:
            with pytest.raises(OutputError, match=rf"contains notes\.txt, which jobs\.{stage} did not write"):
                function(out, run)
    assert out.sizes() == before


@pytest.mark.parametrize("stage", WRITTEN)
def test_finished_directory_with_a_missing_or_changed_file_is_refused(out: Location, stage: str) -> None:
    run = finished(out, stage)
    name = WRITTEN[stage][-1]
    out.child(name).write_bytes(b"row")
    said = f"^{out.uri}: finished, but {name} has 3 bytes, not 4; use --overwrite to rebuild it$"
    with pytest.raises(OutputError, match=said):
        begin(out, run)
    out.child(name).delete_file()
    for function in (begin, check_output, inspect_output):
        with pytest.raises(OutputError, match=f"{name} is missing; use --overwrite"):
            function(out, run)
    assert begin(out, run, overwrite=True) is State.FRESH


def test_inputs_must_be_outside_the_output_directory(tmp_path: Path) -> None:
    out = locate(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    check_apart(out, [locate(tmp_path / "out2"), locate(tmp_path), locate(f"{tmp_path}/output/a.json")])
    for inside in ("out", "out/a.json", "out/deep/a.json", "link/a.json"):
        with pytest.raises(OutputError) as raised:
            check_apart(out, [locate(tmp_path / "a.json"), locate(tmp_path / inside)])
        assert str(raised.value) == (
            f"{out.uri}: input {tmp_path}/{inside} is inside the output directory; choose another --output"
        )


HOLD = """
import sys
from pipeline.rundir.claim import begin
from pipeline.rundir.manifest import Run
from pipeline.storage.location import locate

begin(locate(sys.argv[1]), Run.model_validate_json(sys.argv[2]))
print("begun", flush=True)
sys.stdin.read()
"""


def hold(out: Location) -> list[str]:
    """Command of another job that claims the same directory, then waits."""
    return [sys.executable, "-c", HOLD, out.path, RUN.model_dump_json()]


def test_second_job_on_a_directory_is_refused(out: Location) -> None:
    with subprocess.Popen(hold(out), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"
        for function in (begin, check_output):
            for overwrite in (False, True):
                with pytest.raises(OutputError) as raised:
                    function(out, RUN, overwrite=overwrite)
                assert str(raised.value) == (
                    f"{out.uri}: another job is writing to this directory; wait until it ends, or choose"
                    " another --output"
                )
        # A finished output needs no lock.
        write_manifest(out, manifest_of(RUN))
        assert begin(out, RUN) is State.FINISHED
        out.child("manifest.json").delete_file()
        other.kill()
    assert begin(out, RUN) is State.UNFINISHED
    assert listing(out) == ["run.json"]


def test_job_may_begin_twice_even_if_the_directory_was_replaced(out: Location) -> None:
    begin(out, RUN)
    assert begin(out, RUN, overwrite=True) is State.FRESH
    shutil.rmtree(out.path)
    assert begin(out, RUN) is State.FRESH
    assert begin(out, RUN) is State.UNFINISHED
    # The new directory is locked too.
    other = subprocess.run(hold(out), stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT)
    assert "another job is writing to this directory" in other.stderr
    assert other.returncode == 1


def test_run_written_before_the_lock_was_acquired_is_detected(
    out: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_json = to_json(RUN.model_copy(update={"model_fingerprint": "m2"}).model_dump(mode="json"))
    monkeypatch.setattr("pipeline.rundir.claim._hold", lambda o: o.child("run.json").write_bytes(run_json))
    with pytest.raises(OutputError, match="holds another run"):
        begin(out, RUN)
    assert out.child("run.json").read_bytes() == run_json


def test_filesystem_without_locks_is_accepted(out: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert begin(out, RUN) is State.FRESH
    assert begin(out, RUN) is State.UNFINISHED


def test_finish_deletes_files_of_killed_writers(out: Location) -> None:
    begin(out, RUN)
    kept = ["part-00000-000000.parquet", "rejects/part-00000-000000.parquet"]
    # An attempt that set the chunk aside was killed before it wrote the part; the next attempt scored it.
    left = [f"{TEMPORARY_MARK}1-part-00000-000001.parquet", "rejects/part-00000-000001.parquet"]
    left += [f"rejects/{TEMPORARY_MARK}2-part-00000-000001.parquet"]
    others = ["rejects/notes.txt"]
    for name in kept + left + others:
        out.child(name).write_bytes(b"rows")
    module.finish(out, RUN, manifest_of(RUN, outputs=[OutputFile(path=name, bytes=4) for name in kept]))
    assert sorted(out.sizes()) == sorted([*kept, *others, "manifest.json", "run.json"])
    assert inspect_output(out, RUN) is State.FINISHED


def test_network_filesystem_is_also_protected_by_a_lease(
    out: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_shared", lambda path: True)
    monkeypatch.setattr(lease, "TIMING", LeaseTiming(heartbeat_s=0.2, race_s=0.1))
    begin(out, RUN)
    try:
        # As on another machine, where the lock has no effect.
        with pytest.raises(OutputError, match="another job is writing to this directory"):
            Lease.take(out)
        assert begin(out, RUN) is State.UNFINISHED
        module.finish(out, RUN, manifest_of(RUN))
        assert LEASE_FILE not in out.sizes()
        Lease.take(out).release()
    finally:
        release_outputs()
