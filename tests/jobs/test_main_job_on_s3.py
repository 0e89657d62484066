"""The main job, submitted to a cluster, with input and output in a bucket: the output equals that on disk."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.details import EpochRecord
from pipeline.humanize import counted
from tests import main_job
from tests.commands import ROOT, RunJob, command, run_in_subprocess
from tests.ray_head import Head
from tests.s3server import Store

# The fixtures run two main jobs and start a cluster.
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def options(tiny_model: Path) -> list[str]:
    """Arguments of the main job besides its input and output."""
    return main_job.options(tiny_model)


@dataclass
class Outputs:
    """The output of the same job twice: in a bucket and on disk."""

    store: Store
    bucket: str
    disk: Path
    log: str
    """What the job in the bucket printed."""

    def uri(self, path: str) -> str:
        """A URI that contains the address of the store."""
        return f"s3://{self.bucket}/{path}?region=us-east-1&endpoint_override={self.store.url}"

    def versions(self) -> dict[str, Any]:
        """Modification time and ETag of each object, which change when it is written again."""
        objects = self.store.client.list_objects_v2(Bucket=self.bucket)["Contents"]
        return {o["Key"]: (o["LastModified"], o["ETag"]) for o in objects}

    def both(self, folder: str) -> list[pa.Table]:
        """The rows of a folder of the output, from the bucket and from the disk."""
        paths = sorted((self.disk / folder).glob("part-*.parquet"))
        keys = [f"out/{path.relative_to(self.disk).as_posix()}" for path in paths]
        return [
            table([self.store.get(self.bucket, key) for key in keys]),
            table([path.read_bytes() for path in paths]),
        ]


def table(files: list[bytes]) -> pa.Table:
    """The rows of some parts, with the names of the dumps instead of their locations."""
    whole = pa.concat_tables([pq.read_table(io.BytesIO(data)).replace_schema_metadata() for data in files])
    names = [uri.partition("?")[0].rpartition("/")[2] for uri in whole["source"].to_pylist()]
    return whole.set_column(0, "source", pa.array(names))


@pytest.fixture(scope="module")
def there(store: Store, dump: Path, options: list[str], outputs: main_job.Outputs, head: Head) -> Outputs:
    there = Outputs(store, store.new_bucket(), outputs.base, "")
    for file in dump.iterdir():
        store.put(there.bucket, f"dumps/{file.name}", file.read_bytes())
    job = ["python", "-m", "jobs.run", there.uri("dumps/*.json.gz"), "--output", there.uri("out"), *options]
    # The shell that runs a submitted command must not see the special characters of a URI.
    done = head.submit("--working-dir", ".", "--", "bash", "-c", shlex.join(job))
    there.log = done.stdout + done.stderr
    assert done.returncode == 0, there.log
    return there


def test_a_submitted_job_prints_its_cluster_and_its_accuracy(there: Outputs) -> None:
    assert "1 node, 1 CPU, 0 GPUs" in there.log
    accuracy = json.loads(there.store.get(there.bucket, "out/report/metrics.json"))["accuracy"]
    assert re.search(rf"Accuracy\W+{accuracy:.4f}", there.log)
    assert "always" in there.log


def test_the_same_files(there: Outputs) -> None:
    files = [p.relative_to(there.disk).as_posix() for p in there.disk.rglob("*") if p.is_file()]
    keys = there.store.keys(there.bucket, "out/")
    # pyarrow marks a directory with an empty object.
    assert sorted(k for k in keys if not k.endswith("/")) == sorted(f"out/{name}" for name in files)


def test_manifests_name_inputs_with_their_queries(there: Outputs, dump: Path) -> None:
    about = json.loads(there.store.get(there.bucket, "out/data/manifest.json"))
    names = sorted(p.name for p in dump.iterdir())
    assert [f["path"] for f in about["inputs"]] == [there.uri(f"dumps/{name}") for name in names]
    for output in about["outputs"]:
        assert len(there.store.get(there.bucket, f"out/data/{output['path']}")) == output["bytes"]


@pytest.mark.parametrize("folder", ["data/train", "data/val", "data/test", "scores"])
def test_the_same_rows(there: Outputs, folder: str) -> None:
    stored, here = there.both(folder)
    assert stored.num_rows > 50
    assert stored.equals(here)


def test_the_same_weights_and_metrics(there: Outputs) -> None:
    for name in ("model/model.safetensors", "report/metrics.json"):
        assert there.store.get(there.bucket, f"out/{name}") == (there.disk / name).read_bytes()


def test_the_same_command_twice_does_nothing(there: Outputs, options: list[str], run_job: RunJob) -> None:
    before = there.versions()
    outcome = run_job("run", there.uri("dumps/*.json.gz"), "--output", there.uri("out"), *options)
    assert outcome.code == 0, outcome.stderr
    assert there.versions() == before


def test_an_interrupted_score_resumes_after_its_chunks(
    there: Outputs, options: list[str], run_job: RunJob
) -> None:
    before = there.versions()
    parts = [k for k in before if k.startswith("out/scores/part-")]
    assert len(parts) > 1
    for key in ("out/scores/manifest.json", parts[0]):
        there.store.client.delete_object(Bucket=there.bucket, Key=key)
    places = (
        there.uri("out/data/test"),
        "--model",
        there.uri("out/model"),
        "--output",
        there.uri("out/scores"),
    )
    outcome = run_job("score", *places, *options)
    assert outcome.code == 0, outcome.stderr
    assert (
        f"score: {counted(len(parts) - 1, 'chunk')} committed by an earlier job; resuming" in outcome.stderr
    )
    after = there.versions()
    assert {k: after[k] for k in parts[1:]} == {k: before[k] for k in parts[1:]}
    stored, here = there.both("scores")
    assert stored.equals(here)


@pytest.mark.slow
def test_a_killed_training_resumes_from_its_checkpoint(there: Outputs, options: list[str]) -> None:
    store, bucket = there.store, there.bucket
    arguments = ("--data", f"s3://{bucket}/out/data", "--output", f"s3://{bucket}/cut", *options)
    train = command("train", *arguments, "--set", "cluster.num_cpus=1,train.checkpoint_every_steps=20")
    process = subprocess.Popen(train, cwd=ROOT, env=os.environ | store.env, stderr=subprocess.DEVNULL)
    try:
        wait_for_checkpoint(there, process)
    finally:
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        # A worker that has not noticed the kill may write another checkpoint.
        psutil.wait_procs(started, timeout=60)
    assert "cut/manifest.json" not in store.keys(bucket)
    # The history shows whether the second run started over.
    for key in store.keys(bucket, "cut/checkpoints/"):
        if key.endswith("/state.json"):
            mark = dict.fromkeys(EpochRecord.model_fields, 0) | {"epoch": -1, "val_loss": 9.0}
            state = json.loads(store.get(bucket, key))
            # The epoch may have ended before the kill.
            state["history"].insert(0, mark)
            store.put(bucket, key, json.dumps(state).encode())
    done = subprocess.run(train, cwd=ROOT, env=os.environ | store.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert store.get(bucket, "cut/model.safetensors") == store.get(bucket, "out/model/model.safetensors")
    history = json.loads(store.get(bucket, "cut/manifest.json"))["details"]["history"]
    assert [entry["epoch"] for entry in history] == [-1, 0, 1]
    assert [k for k in store.keys(bucket, "cut/checkpoints/") if not k.endswith("/")] == []


def wait_for_checkpoint(there: Outputs, process: subprocess.Popen[bytes]) -> None:
    """Wait until Ray has recorded a first complete checkpoint."""
    key = "cut/checkpoints/checkpoint_manager_snapshot.json"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        noted = there.store.keys(there.bucket, key) and there.store.get(there.bucket, key)
        if noted and re.search(rb"\bcheckpoint_\d", noted):
            return
        time.sleep(0.05)
    raise AssertionError("the training ended, or made no checkpoint in time")


def test_a_synthetic_dump_is_written_to_a_bucket(store: Store, run_job: RunJob, tmp_path: Path) -> None:
    bucket = store.new_bucket()
    size = ("--rows", 500, "--shards", 2, "--output")
    # The environment holds the address of the store.
    there = run_in_subprocess("synth", "--workers", 2, *size, f"s3://{bucket}/dump", env=store.env)
    assert there.code == 0, there.stderr
    assert run_job("synth", *size, tmp_path / "dump").code == 0
    files = {f"dump/{p.name}": p.read_bytes() for p in (tmp_path / "dump").iterdir()}
    assert sorted(files)[0] == "dump/.synth.json"
    assert len(files) == 3
    assert {key: store.get(bucket, key) for key in store.keys(bucket) if not key.endswith("/")} == files


def test_a_model_to_start_from_may_be_in_a_bucket(
    there: Outputs, tiny_model: Path, tmp_path: Path, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in tiny_model.iterdir():
        there.store.put(there.bucket, f"base/{file.name}", file.read_bytes())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arguments = ("--data", there.disk / "data", "--model", there.uri("base"), "--output", tmp_path / "model")
    outcome = run_job("train", *arguments, *main_job.OPTIONS, "--dry-run")
    assert outcome.code == 0, outcome.stderr
    assert list(tmp_path.glob("rayview-models-*/*/model.safetensors"))
