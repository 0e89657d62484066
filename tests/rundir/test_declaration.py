"""The declaration of a stage limits which files are deleted; that in run.json can only narrow it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import InputError, OutputError
from pipeline.rundir.claim import State, begin, check_output, finish
from pipeline.rundir.declaration import Declaration
from pipeline.rundir.manifest import OutputFile, Run, read_run
from pipeline.storage.location import Location
from tests.runs import DECLARATIONS, RUN, manifest_of

PAGES = Declaration(files=(r"page-\d+\.txt",), provisional=(r"drafts/\d+\.txt",), first=("page-0.txt",))
SUMMARY = Run(stage="summarize", settings={"pages": 2}, declaration=PAGES)
OTHER = SUMMARY.model_copy(update={"settings": {"pages": 3}})


def edit(out: Location, **declared: Any) -> None:
    """Change the declaration in run.json."""
    data = json.loads(out.child("run.json").read_bytes())
    data["declaration"] = data["declaration"] | declared
    out.child("run.json").write_bytes(json.dumps(data).encode())


def write(out: Location, *names: str) -> None:
    for name in names:
        out.child(name).write_bytes(b"text")


def test_declaration_is_stored_in_run_json(out: Location) -> None:
    begin(out, SUMMARY)
    data = json.loads(out.child("run.json").read_bytes())["declaration"]
    assert data == {
        "files": [r"page-\d+\.txt"],
        "provisional": [r"drafts/\d+\.txt"],
        "first": ["page-0.txt"],
        "resumes": False,
    }
    assert read_run(out).declaration == PAGES


def test_stage_known_only_by_its_declaration_restarts_finishes_and_is_overwritten(out: Location) -> None:
    begin(out, SUMMARY)
    write(out, "page-0.txt", "page-1.txt", "drafts/1.txt")
    assert begin(out, SUMMARY) is State.FRESH
    assert list(out.sizes()) == ["run.json"]
    write(out, "page-0.txt", "drafts/1.txt", "drafts/2.txt")
    manifest = manifest_of(
        SUMMARY, outputs=[OutputFile(path=n, bytes=4) for n in ("page-0.txt", "drafts/2.txt")]
    )
    finish(out, SUMMARY, manifest)
    assert sorted(out.sizes()) == ["drafts/2.txt", "manifest.json", "page-0.txt", "run.json"]
    assert begin(out, SUMMARY) is State.FINISHED
    assert begin(out, OTHER, overwrite=True) is State.FRESH
    assert list(out.sizes()) == ["run.json"]


def test_stage_that_resumes_keeps_its_files(out: Location) -> None:
    run = SUMMARY.model_copy(update={"declaration": PAGES.model_copy(update={"resumes": True})})
    begin(out, run)
    write(out, "page-0.txt")
    assert begin(out, run) is State.UNFINISHED
    assert "page-0.txt" in out.sizes()
    # The version that wrote the existing files did not resume.
    edit(out, resumes=False)
    assert begin(out, run) is State.FRESH
    assert list(out.sizes()) == ["run.json"]


@pytest.mark.parametrize("pattern", [".*", "notes.txt", r"notes\.txt|page-\d+\.txt", "(", "(a+)+$"])
@pytest.mark.parametrize("field", ["files", "provisional"])
def test_pattern_only_in_run_json_allows_no_deletion(out: Location, field: str, pattern: str) -> None:
    begin(out, SUMMARY)
    edit(out, **{field: [pattern, *getattr(PAGES, field)], "first": ["notes.txt"]})
    write(out, "page-0.txt", "drafts/1.txt", "notes.txt")
    before = out.sizes()
    for function in (begin, check_output):
        for run in (SUMMARY, OTHER):
            with pytest.raises(
                OutputError, match=r"contains notes\.txt, which jobs\.summarize did not write"
            ):
                function(out, run, overwrite=True)
    assert out.sizes() == before
    finish(out, SUMMARY, manifest_of(SUMMARY, outputs=[OutputFile(path="page-0.txt", bytes=4)]))
    assert sorted(out.sizes()) == ["manifest.json", "notes.txt", "page-0.txt", "run.json"]


def test_pattern_missing_from_run_json_allows_no_deletion(out: Location) -> None:
    """A version that writes more files does not delete user files with those names."""
    begin(out, SUMMARY)
    more = PAGES.model_copy(update={"files": (*PAGES.files, r"index\.txt")})
    newer = SUMMARY.model_copy(update={"declaration": more})
    write(out, "page-0.txt", "index.txt")
    with pytest.raises(OutputError, match=r"contains index\.txt, which jobs\.summarize did not write"):
        begin(out, newer, overwrite=True)
    assert "page-0.txt" in out.sizes()
    out.child("index.txt").delete_file()
    assert begin(out, newer, overwrite=True) is State.FRESH
    write(out, "page-0.txt", "index.txt")
    # And vice versa.
    with pytest.raises(OutputError, match=r"contains index\.txt"):
        begin(out, SUMMARY, overwrite=True)


def test_run_resumed_by_another_version_gets_its_declaration(out: Location) -> None:
    older = SUMMARY.model_copy(update={"declaration": PAGES.model_copy(update={"resumes": True})})
    begin(out, older.model_copy(update={"resolved": {"lines": 1}}))
    more = PAGES.model_copy(update={"files": (*PAGES.files, r"index\.txt"), "resumes": True})
    newer = older.model_copy(update={"declaration": more, "resolved": {"lines": 2}})
    assert check_output(out, newer) is State.UNFINISHED
    assert read_run(out).declaration == older.declaration
    assert begin(out, newer) is State.UNFINISHED
    assert (read_run(out).declaration, read_run(out).resolved) == (more, {"lines": 1})
    write(out, "index.txt")
    assert begin(out, newer, overwrite=True) is State.FRESH


@pytest.mark.parametrize(
    "declared", [7, "files", {"files": 7}, {"files": [7]}, {"resumes": "perhaps"}, {"first": None}]
)
def test_damaged_declaration_is_refused_in_one_line(out: Location, declared: object) -> None:
    begin(out, RUN)
    data = json.loads(out.child("run.json").read_bytes()) | {"declaration": declared}
    out.child("run.json").write_bytes(json.dumps(data).encode())
    write(out, "part-00000-000000.parquet")
    for overwrite in (False, True):
        with pytest.raises(InputError) as raised:
            begin(out, RUN, overwrite=overwrite)
        assert str(raised.value) == f"{out.uri}/run.json: damaged; it is not a run.json of rayview"
    assert "part-00000-000000.parquet" in out.sizes()


@pytest.mark.parametrize("stage", DECLARATIONS)
def test_run_json_without_a_declaration_is_supported(out: Location, stage: str) -> None:
    run = RUN.model_copy(update={"stage": stage, "declaration": DECLARATIONS[stage]})
    begin(out, run)
    data = json.loads(out.child("run.json").read_bytes())
    del data["declaration"]
    before = json.dumps(data).encode()
    out.child("run.json").write_bytes(before)
    if run.declaration is not None and run.declaration.resumes:
        assert begin(out, run) is State.UNFINISHED
        assert out.child("run.json").read_bytes() == before
    else:
        assert begin(out, run) is State.FRESH
    out.child("run.json").write_bytes(before)
    write(out, "notes.txt")
    with pytest.raises(OutputError, match=r"contains notes\.txt"):
        begin(out, run, overwrite=True)
    out.child("notes.txt").delete_file()
    assert begin(out, run, overwrite=True) is State.FRESH


def test_run_without_a_declaration_deletes_nothing(out: Location) -> None:
    run = Run(stage="summarize")
    begin(out, run)
    assert begin(out, run) is State.FRESH
    write(out, "page-0.txt")
    with pytest.raises(OutputError, match=r"contains page-0\.txt, which jobs\.summarize did not write"):
        begin(out, run, overwrite=True)


NAMES = {
    "prepare": ["train/part-00000.parquet", "rejects/duplicates-00000-00000.parquet", "card-stars.png"],
    "train": ["checkpoints/a/b", "model.safetensors", "vocab.txt", "spiece.model", "chat_template.jinja"],
    "score": ["part-00000-000000.parquet", "rejects/failed-00000-00001.parquet"],
    "evaluate": ["metrics.json", "roc.png", "report.html"],
}
FOREIGN = ["notes.txt", "train/notes.txt", "rejects/notes.parquet", "part-a.parquet", "part-0.parquet.bak"]


@pytest.mark.parametrize("stage", NAMES)
def test_stages_declare_their_files_and_no_others(stage: str) -> None:
    declaration = DECLARATIONS[stage]
    assert [name for name in NAMES[stage] if not declaration.includes(name)] == []
    others = [name for other in NAMES if other != stage for name in NAMES[other]]
    assert [name for name in (*FOREIGN, *others) if declaration.includes(name)] == []
