"""User errors: one clear line, the right exit code, no traceback, and nothing written."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.storage.location import locate
from pipeline.synth import write_dump
from tests.commands import ROOT, RunJob, run_in_subprocess, start, the_line
from tests.score.written import PART, write_scores


def refused(run_job: RunJob, job: str, out: Path, *arguments: object) -> str:
    """The error line of a refused job, which must not have written to `out`."""
    line = the_line(run_job(job, *arguments, "--output", out))
    assert not out.exists()
    return line


def test_missing_input_is_named(tmp_path: Path) -> None:
    line = refused(run_in_subprocess, "prepare", tmp_path / "out", tmp_path / "no.json.gz")
    assert line == f"error: {tmp_path}/no.json.gz: no such file or directory"


def test_empty_directory_is_refused(run_job: RunJob, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = refused(run_job, "prepare", tmp_path / "out", tmp_path / "empty")
    assert "no dump in this directory" in line


def test_pattern_without_a_match_is_refused(run_job: RunJob, tmp_path: Path) -> None:
    line = refused(run_job, "prepare", tmp_path / "out", tmp_path / "*.json.gz")
    assert "no file matches this pattern" in line


def test_empty_file_is_refused(run_job: RunJob, tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    line = refused(run_job, "prepare", tmp_path / "out", tmp_path / "a.json")
    assert line == f"error: {tmp_path}/a.json: empty file; nothing to read"


def test_unknown_column_is_refused(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "input.text=reviewBody")
    line = refused(run_job, "prepare", tmp_path / "out", dump, *sets)
    assert "input.text=reviewBody, but no line has this field" in line
    assert "reviewText" in line


def test_unknown_format_names_the_fields(run_job: RunJob, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"body": "fine", "rank": 3}\n')
    line = refused(run_job, "prepare", tmp_path / "out", tmp_path / "a.json")
    assert "fields: body, rank" in line
    assert "--set input.text=" in line


def test_unknown_setting_is_refused(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "train.learning_rat=1")
    line = refused(run_job, "prepare", tmp_path / "out", dump, *sets)
    assert "unknown setting train.learning_rat; did you mean train.learning_rate?" in line


def test_invalid_value_is_refused(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    line = refused(run_job, "prepare", tmp_path / "out", dump, "--set", "train.epochs=0")
    assert "train.epochs=0" in line


def test_missing_config_file_is_refused(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    line = refused(run_job, "prepare", tmp_path / "out", dump, "--config", tmp_path / "no.toml")
    assert "no such file" in line


def test_unknown_model_is_refused(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "model.name=nobody/nothing")
    line = refused(run_job, "prepare", tmp_path / "out", dump, *sets)
    assert "model nobody/nothing:" in line


def test_directory_without_a_model_is_refused(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    line = refused(run_job, "score", tmp_path / "out", dump, "--model", tmp_path)
    assert f"no config.json in {tmp_path}; use a Hugging Face model directory" in line


def test_existing_output_of_another_program_is_kept(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("do not lose me")
    for more in ((), ("--overwrite",)):
        line = the_line(run_job("prepare", dump, "--output", tmp_path / "out", *more))
        assert "exists and was not written by rayview" in line
    assert (tmp_path / "out" / "thesis.txt").read_text() == "do not lose me"


def test_output_that_is_a_file_is_refused(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    (tmp_path / "out").write_text("x")
    assert "this is a file" in the_line(run_job("prepare", dump, "--output", tmp_path / "out"))


@pytest.mark.ray
def test_unwritable_output_is_refused(run_job: RunJob, cluster: Any, dump: Path) -> None:
    line = the_line(run_job("prepare", dump, "--output", "/proc/rayview"))
    assert line.startswith("error: /proc/rayview: cannot be written to")


def test_empty_paths_are_refused(run_job: RunJob, dump: Path) -> None:
    for arguments in ((dump, "--output", ""), ("", "--output", "out")):
        line = the_line(run_job("prepare", *arguments))
        assert line == "error: a path is empty; name a file, a directory or a URI"


def test_missing_arguments_are_explained(run_job: RunJob) -> None:
    code, _, stderr = run_job("train", "--output", "x")
    assert code == 2
    assert "--data" in stderr


def test_missing_data_is_refused(run_job: RunJob, tmp_path: Path) -> None:
    line = refused(run_job, "train", tmp_path / "out", "--data", tmp_path / "no")
    assert "no such directory" in line


def test_verify_refuses_other_directories(run_job: RunJob, tmp_path: Path) -> None:
    line = the_line(run_job("verify", tmp_path / "no"))
    assert line == f"error: {tmp_path}/no: no such directory"
    line = the_line(run_job("verify", tmp_path))
    assert line == f"error: {tmp_path}: contains no run.json; it is not an output of rayview"


def test_unreachable_cluster_is_named(tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "cluster.address=127.0.0.1:9")
    line = refused(run_in_subprocess, "prepare", tmp_path / "out", dump, *sets)
    assert "127.0.0.1:9" in line


def test_verify_reports_changed_scores(tmp_path: Path) -> None:
    write_scores(tmp_path)
    (tmp_path / PART).write_bytes(b"")
    outcome = run_in_subprocess("verify", tmp_path)
    assert f"fault: {PART}: " in outcome.stdout
    assert re.fullmatch(rf"error: {tmp_path}: \d faults?; see above", the_line(outcome, code=3))


@pytest.mark.ray
def test_too_many_rejected_lines_fail_the_job(run_job: RunJob, cluster: Any, tmp_path: Path) -> None:
    good = '{"overall": 5.0, "reviewText": "good"}\n'
    (tmp_path / "a.json").write_text((good * 9 + "oops\n") * 200)
    line = the_line(run_job("prepare", tmp_path / "a.json", "--output", tmp_path / "out"), code=3)
    assert re.search(r"\d+ of [\d,]+ lines rejected, more than input.max_rejected_frac=0.05 allows", line)
    assert re.search(rf"\d+ bad_json \({tmp_path}/a.json, line \d*0: JSON is malformed: .*: oops\)", line)
    assert not (tmp_path / "out" / "manifest.json").exists()


LONG = ("--set", "input.chunk_bytes=4096")


@pytest.fixture
def long_job(cluster: Any, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A prepare job on a running cluster that has encoded its first chunk of many."""
    import ray

    write_dump(locate(tmp_path / "dump"), rows=20_000, shards=1, seed=1)
    env = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    process = start("prepare", tmp_path / "dump", "--output", tmp_path / "out", *LONG, env=env)
    deadline = time.monotonic() + 90
    while not list((tmp_path / "out" / "encoded").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def check_interrupted(job: subprocess.Popen[str], out: Path) -> None:
    """Check the message and the output of an interrupted job."""
    _, stderr = job.communicate(timeout=60)
    assert job.returncode == 1
    assert "Traceback" not in stderr
    assert "prepare: interrupted" in stderr.strip().splitlines()[-1]
    assert not (out / "manifest.json").exists()
    for part in out.rglob("part-*.parquet"):
        assert pq.read_metadata(part).num_rows > 0


@pytest.mark.ray
def test_second_job_is_refused_until_the_first_is_interrupted(
    run_job: RunJob, long_job: subprocess.Popen[str], tmp_path: Path
) -> None:
    again = (tmp_path / "dump", "--output", tmp_path / "out", *LONG)
    for more in ((), ("--overwrite",), ("--dry-run",)):
        line = the_line(run_job("prepare", *again, *more))
        assert line.startswith(f"error: {tmp_path}/out: another job is writing to this directory; wait until")
    assert long_job.poll() is None
    long_job.send_signal(signal.SIGINT)
    check_interrupted(long_job, tmp_path / "out")
    outcome = run_job("prepare", *again, "--dry-run")
    assert outcome.code == 0, outcome.stderr


def test_killed_job_leaves_no_lock(run_job: RunJob, dump: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pipeline.rundir.manifest import Run\n"
        "from pipeline.rundir.claim import begin\n"
        "from pipeline.storage.location import locate\n"
        "begin(locate(sys.argv[1]), Run(stage='prepare', inputs=[], model_fingerprint='m', settings={}))\n"
        "print('begun', flush=True)\n"
        "time.sleep(60)\n"
    )
    arguments = ("prepare", dump, "--output", tmp_path / "out", "--dry-run")
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert "another job is writing to this directory" in the_line(run_job(*arguments, "--overwrite"))
        process.kill()
    assert run_job(*arguments, "--overwrite").code == 0


def test_dry_run_prints_the_plan_and_writes_nothing(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "cluster.num_cpus=2", "--set", "train.num_workers=2")
    code, stdout, stderr = run_job("run", dump, "--output", tmp_path / "out", "--dry-run", *sets)
    assert code == 0, stderr
    first = dump / "reviews-00000-of-00003.json.gz"
    assert f"input: {first} ({first.stat().st_size:,} bytes, amazon_2018, JSON lines)" in stdout
    assert "readers: 1 × 0.25 CPU" in stdout
    assert f"then train on 2 × 1 CPU → {tmp_path}/out/model" in stdout
    assert f"then evaluate → {tmp_path}/out/report" in stdout
    assert not (tmp_path / "out").exists()
    line = the_line(
        run_job("run", dump, "--output", tmp_path / "out", "--dry-run", "--set", "train.num_workers=33")
    )
    assert "train.global_batch_rows=32 is less than one row per worker (33 workers)" in line


def test_dry_run_detects_the_output_of_another_stage(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    run_json = {"stage": "score", "version": "0.1.0", "inputs": [], "model_fingerprint": "m"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(json.dumps(run_json | {"settings": {}, "resolved": {}}))
    line = the_line(run_job("prepare", dump, "--output", tmp_path / "out", "--dry-run"))
    assert line.startswith(f"error: {tmp_path}/out: holds the output of jobs.score, not of jobs.prepare;")


def test_main_job_does_not_read_its_outputs(run_job: RunJob, tmp_path: Path, dump: Path) -> None:
    shutil.copytree(dump, tmp_path / "in")
    for name in ("model/config.json", "scores/part-00000-000000.parquet", "report/metrics.json"):
        (tmp_path / "in" / "out" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / "out" / name).write_text("{}")
    arguments = (tmp_path / "in", "--output", tmp_path / "in" / "out", "--score", tmp_path / "in")
    code, stdout, stderr = run_job("run", *arguments, "--dry-run", "--set", "cluster.num_cpus=2")
    assert code == 0, stderr
    read = [line for line in stdout.splitlines() if "input: " in line or "then score" in line]
    assert len(read) == 4
    assert all("/out/" not in line.partition("→")[0] for line in read)
