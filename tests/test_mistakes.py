"""Each mistake of a user's: one clear line, the right exit code, no traceback, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.storage import locate
from pipeline.synth import write_dump

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    own = {"RAY_ADDRESS": "local", "HF_HUB_OFFLINE": "1", "RAYVIEW_LOG_DIR": str(tmp_path / "logs")}
    return os.environ | own


def run(env: dict[str, str], job: str, *arguments: object, timeout_s: float = 120) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a job."""
    command = [sys.executable, "-m", f"jobs.{job}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s)
    return done.returncode, done.stdout, done.stderr


def the_line(result: tuple[int, str, str], code: int = 2) -> str:
    """The one line that a mistake is answered with."""
    returncode, _, stderr = result
    assert returncode == code, stderr
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, stderr
    assert stderr.strip().splitlines()[-1] == lines[0]
    return lines[0]


def refused(env: dict[str, str], job: str, out: Path, *arguments: object) -> str:
    """The one line with which a job is refused that was to write to `out`, where nothing must be left."""
    line = the_line(run(env, job, *arguments, "--output", out))
    assert not out.exists()
    return line


def test_missing_input(env: dict[str, str], tmp_path: Path) -> None:
    line = refused(env, "prepare", tmp_path / "out", tmp_path / "no.json.gz")
    assert line == f"error: {tmp_path}/no.json.gz: no such file or directory"


def test_empty_directory(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = refused(env, "prepare", tmp_path / "out", tmp_path / "empty")
    assert "this directory holds no dump" in line


def test_pattern_without_a_match(env: dict[str, str], tmp_path: Path) -> None:
    line = refused(env, "prepare", tmp_path / "out", tmp_path / "*.json.gz")
    assert "no file matches this pattern" in line


def test_empty_file(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    line = refused(env, "prepare", tmp_path / "out", tmp_path / "a.json")
    assert line == f"error: {tmp_path}/a.json: empty file; there is nothing to read"


def test_wrong_column(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "input.text=reviewBody")
    line = refused(env, "prepare", tmp_path / "out", dump, *sets)
    assert "input.text=reviewBody, but no line has this field" in line
    assert "reviewText" in line


def test_unknown_format_names_the_fields(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"body": "fine", "rank": 3}\n')
    line = refused(env, "prepare", tmp_path / "out", tmp_path / "a.json")
    assert "its fields are body, rank" in line
    assert "--set input.text=" in line


def test_unknown_setting(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "train.learning_rat=1")
    line = refused(env, "prepare", tmp_path / "out", dump, *sets)
    assert "unknown setting train.learning_rat; did you mean train.learning_rate?" in line


def test_value_that_does_not_fit(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    line = refused(env, "prepare", tmp_path / "out", dump, "--set", "train.epochs=0")
    assert "train.epochs=0" in line


def test_missing_config_file(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    line = refused(env, "prepare", tmp_path / "out", dump, "--config", tmp_path / "no.toml")
    assert "no such file" in line


def test_unknown_model(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "model.name=nobody/nothing")
    line = refused(env, "prepare", tmp_path / "out", dump, *sets)
    assert "model nobody/nothing:" in line


def test_model_directory_that_is_none(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    line = refused(env, "score", tmp_path / "out", dump, "--model", tmp_path)
    assert "no rayview.json there" in line


def test_output_that_exists(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("do not lose me")
    for more in ((), ("--overwrite",)):
        line = the_line(run(env, "prepare", dump, "--output", tmp_path / "out", *more))
        assert "exists and was not written by rayview" in line
    assert (tmp_path / "out" / "thesis.txt").read_text() == "do not lose me"


def test_output_that_is_a_file(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    (tmp_path / "out").write_text("x")
    assert "this is a file" in the_line(run(env, "prepare", dump, "--output", tmp_path / "out"))


def test_unwritable_output(env: dict[str, str], dump: Path) -> None:
    line = the_line(run(env, "prepare", dump, "--output", "/proc/rayview"))
    assert line.startswith("error: /proc/rayview: cannot be written to")


def test_missing_arguments_are_explained(env: dict[str, str]) -> None:
    code, _, stderr = run(env, "train", "--output", "x")
    assert code == 2
    assert "--data" in stderr


def test_data_that_is_not_there(env: dict[str, str], tmp_path: Path) -> None:
    line = refused(env, "train", tmp_path / "out", "--data", tmp_path / "no")
    assert "no such directory" in line


def test_verifying_what_is_no_output(env: dict[str, str], tmp_path: Path) -> None:
    line = the_line(run(env, "verify", tmp_path))
    assert line == f"error: {tmp_path}: no run.json there; it is not an output of rayview"


def test_unreachable_cluster(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    sets = ("--set", "cluster.address=127.0.0.1:9")
    line = refused(env, "prepare", tmp_path / "out", dump, *sets)
    assert "127.0.0.1:9" in line


@pytest.mark.parametrize("job", ["prepare", "train", "score", "evaluate", "run", "verify", "synth"])
def test_help_answers_at_once_and_loads_nothing_heavy(env: dict[str, str], job: str) -> None:
    code = (
        f"import sys; sys.argv=['{job}', '--help']; import runpy\n"
        f"try: runpy.run_module('jobs.{job}', run_name='__main__')\n"
        "except SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'ray', 'transformers', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("SCORES_DIR" if job == "verify" else "--output") in done.stdout


@pytest.mark.ray
def test_too_many_rejected_lines(env: dict[str, str], tmp_path: Path) -> None:
    good = '{"overall": 5.0, "reviewText": "good"}\n'
    (tmp_path / "a.json").write_text((good * 9 + "oops\n") * 200)
    line = the_line(run(env, "prepare", tmp_path / "a.json", "--output", tmp_path / "out"), code=3)
    assert re.search(r"\d+ of [\d,]+ lines rejected, more than input.max_rejected_frac=0.05 allows", line)
    assert re.search(rf"\d+ bad_json \({tmp_path}/a.json, line \d*0: JSON is malformed: .*: oops\)", line)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.fixture
def long_job(env: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A prepare job that is at work on its chunks and would be for some time."""
    write_dump(locate(tmp_path / "dump"), rows=60_000, shards=1, seed=1)
    command = [sys.executable, "-m", "jobs.prepare", str(tmp_path / "dump")]
    command += ["--output", str(tmp_path / "out"), "--set", "input.chunk_bytes=8192"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not list((tmp_path / "out" / "encoded").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


@pytest.mark.ray
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_in_one_line(
    long_job: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    long_job.send_signal(number)
    _, stderr = long_job.communicate(timeout=60)
    assert long_job.returncode == 1
    assert "Traceback" not in stderr
    assert "prepare: interrupted" in stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out" / "manifest.json").exists()
    for part in (tmp_path / "out").rglob("part-*.parquet"):
        assert pq.read_metadata(part).num_rows > 0


@pytest.mark.ray
def test_a_second_job_is_refused_while_the_first_is_alive(
    env: dict[str, str], long_job: subprocess.Popen[str], tmp_path: Path
) -> None:
    again = (tmp_path / "dump", "--output", tmp_path / "out", "--set", "input.chunk_bytes=8192")
    for more in ((), ("--overwrite",), ("--dry-run",)):
        line = the_line(run(env, "prepare", *again, *more))
        assert line.startswith(f"error: {tmp_path}/out: another job is writing there; wait for its end, or")
    assert long_job.poll() is None
    long_job.kill()
    long_job.wait()
    code, _, stderr = run(env, "prepare", *again, "--dry-run")
    assert code == 0, stderr


@pytest.mark.ray
def test_a_dataset_at_work_ends_before_ray_does(env: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from jobs.cli import session\n"
        "from pipeline.config import Config\n"
        "def work(job):\n"
        "    job.connect(Config())\n"
        "    import ray.data\n"
        "    rows = ray.data.range(1000, override_num_blocks=50).map_batches(lambda b: b, batch_size=10)\n"
        "    batches = iter(rows.iter_batches(batch_size=None))\n"
        "    next(batches)\n"
        "    raise KeyboardInterrupt\n"
        "with session('trial') as job:\n"
        "    work(job)\n"
    )
    env = env | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "trial: interrupted" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_dry_run_prints_the_plan_and_touches_nothing(
    env: dict[str, str], tmp_path: Path, dump: Path
) -> None:
    sets = ("--set", "cluster.num_cpus=2", "--set", "train.num_workers=2")
    code, stdout, stderr = run(env, "run", dump, "--output", tmp_path / "out", "--dry-run", *sets)
    assert code == 0, stderr
    first = dump / "reviews-00000-of-00003.json.gz"
    assert f"input: {first} ({first.stat().st_size:,} bytes, amazon_2018, JSON lines)" in stdout
    assert "readers: 1 × 0.25 CPU" in stdout
    assert f"then train on 2 × 1 CPU → {tmp_path}/out/model" in stdout
    assert f"then evaluate → {tmp_path}/out/report" in stdout
    assert not (tmp_path / "out").exists()
    line = the_line(
        run(env, "run", dump, "--output", tmp_path / "out", "--dry-run", "--set", "train.num_workers=3")
    )
    assert "train.global_batch_rows=32 is not divisible by train.num_workers=3" in line


def test_a_dry_run_sees_that_the_output_is_taken(env: dict[str, str], tmp_path: Path, dump: Path) -> None:
    run_json = {"stage": "score", "version": "0.1.0", "inputs": [], "model_fingerprint": "m"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(json.dumps(run_json | {"settings": {}, "resolved": {}}))
    line = the_line(run(env, "prepare", dump, "--output", tmp_path / "out", "--dry-run"))
    assert line.startswith(f"error: {tmp_path}/out: exists and holds another run (")


def test_the_main_job_takes_none_of_its_outputs_for_input(
    env: dict[str, str], tmp_path: Path, dump: Path
) -> None:
    shutil.copytree(dump, tmp_path / "in")
    for name in ("model/config.json", "scores/part-00000-000000.parquet", "report/metrics.json"):
        (tmp_path / "in" / "out" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / "out" / name).write_text("{}")
    arguments = (tmp_path / "in", "--output", tmp_path / "in" / "out", "--score", tmp_path / "in")
    code, stdout, stderr = run(env, "run", *arguments, "--dry-run", "--set", "cluster.num_cpus=2")
    assert code == 0, stderr
    read = [line for line in stdout.splitlines() if "input: " in line or "then score" in line]
    assert len(read) == 4
    assert all("/out/" not in line.partition("→")[0] for line in read)
