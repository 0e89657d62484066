"""jobs.peek by its command line: local files, an object store, JSON, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.storage.location import locate
from tests.commands import RunJob, the_line
from tests.s3server import Store


def test_the_report_ends_with_the_next_command(run_job: RunJob, dump: Path, tiny_model: Path) -> None:
    code, stdout, stderr = run_job("peek", dump, "--model", tiny_model)
    assert (code, stderr) == (0, "")
    assert stdout.count("read as    text = summary + reviewText, stars = overall") == 3
    assert stdout.splitlines()[-1] == f"next: python -m jobs.prepare {dump} --output data"


def test_json_for_programs(run_job: RunJob, dump: Path, tiny_model: Path) -> None:
    code, stdout, _ = run_job("peek", dump, "--model", tiny_model, "--json")
    report = json.loads(stdout)
    assert (code, report["total_files"], len(report["files"])) == (0, 3, 3)
    assert sum(file["rows"]["rows"] for file in report["files"]) == 1200
    assert report["next"] == f"python -m jobs.prepare {dump} --output data"
    assert 0 < report["seconds"] < 60


def test_a_missing_model_costs_only_the_tokens(run_job: RunJob, dump: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    code, stdout, _ = run_job("peek", dump, "--model", tmp_path / "model")
    assert code == 0
    assert "tokens were not counted: model" in stdout
    assert "  tokens  " not in stdout
    assert "next: python -m jobs.prepare" in stdout


def test_input_that_cannot_be_read_is_one_line(run_job: RunJob, tmp_path: Path) -> None:
    empty = tmp_path / "a.json"
    assert the_line(run_job("peek", empty)) == f"error: {empty}: no such file or directory"
    empty.touch()
    outcome = run_job("peek", empty)
    assert the_line(outcome) == f"error: {empty}: empty file; nothing to read"
    assert outcome.stdout == ""
    (tmp_path / "b.json").write_text('{"title": "Lamp"}\n')
    outcome = run_job("peek", tmp_path)
    assert the_line(outcome) == "error: none of the 2 files can be read; see above"
    assert f"{empty}: empty file; nothing to read" in outcome.stdout
    assert "unknown review format; fields: title" in outcome.stdout


def test_files_in_an_object_store(
    run_job: RunJob, store: Store, bucket: str, dump: Path, tiny_model: Path
) -> None:

    for file in sorted(dump.iterdir()):
        locate(f"s3://{bucket}/peek/{file.name}").write_bytes(file.read_bytes())
    code, stdout, _ = run_job("peek", f"s3://{bucket}/peek", "--model", tiny_model, env=store.env)
    assert code == 0
    assert stdout.count("read as    text = summary + reviewText, stars = overall") == 3
