"""The main job with input and output in a bucket: the same files and rows as on a local disk."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3server import Store

from pipeline.wording import counted

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]


def command(job: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"jobs.{job}", *map(str, arguments)]


def run(env: dict[str, str], arguments: list[str]) -> str:
    """Run a command that must succeed; returns what it said."""
    done = subprocess.run(
        arguments, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def options(tiny_model: Path) -> list[str]:
    sets = [f"model.name={tiny_model}", "tokenize.max_length=32", "train.epochs=1", "cluster.num_cpus=2"]
    sets += ["input.chunk_bytes=65536", "score.precision=float32", "train.precision=float32"]
    return [item for pair in sets for item in ("--set", pair)]


@dataclass
class Outputs:
    """The same job's output twice: in a bucket and on the disk."""

    store: Store
    bucket: str
    disk: Path

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}"

    def versions(self) -> dict[str, Any]:
        """What changes when an object is written again."""
        objects = self.store.client.list_objects_v2(Bucket=self.bucket)["Contents"]
        return {o["Key"]: (o["LastModified"], o["ETag"]) for o in objects}

    def both(self, folder: str) -> list[pa.Table]:
        """The rows of a folder of the output, from the bucket and from the disk."""
        paths = sorted((self.disk / "out" / folder).glob("part-*.parquet"))
        keys = [path.relative_to(self.disk).as_posix() for path in paths]
        return [
            table([self.store.get(self.bucket, key) for key in keys]),
            table([path.read_bytes() for path in paths]),
        ]


def table(files: list[bytes]) -> pa.Table:
    """The rows of some parts, where the dumps lie left out."""
    whole = pa.concat_tables([pq.read_table(io.BytesIO(data)).replace_schema_metadata() for data in files])
    names = [uri.rpartition("/")[2] for uri in whole["source"].to_pylist()]
    return whole.set_column(0, "source", pa.array(names))


BOTH = """
import sys
from jobs.cli import session
from jobs.run import run_all
from pipeline.config import load_config

there, here, *sets = sys.argv[1:]
with session("run") as job:
    config = load_config(None, sets)
    for place, dumps in ((there, f"{there}/dumps/*.json.gz"), (here, f"{here}/dumps")):
        run_all(job, [dumps], [], f"{place}/out", config, False, False)
"""
"""Twice the main job; in one process, since starting Ray's takes most of the time."""


@pytest.fixture(scope="module")
def outputs(
    store: Store, dump: Path, options: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Outputs:
    outputs = Outputs(store, store.new_bucket(), tmp_path_factory.mktemp("disk"))
    shutil.copytree(dump, outputs.disk / "dumps")
    for file in dump.iterdir():
        store.put(outputs.bucket, f"dumps/{file.name}", file.read_bytes())
    run(store.env, [sys.executable, "-c", BOTH, outputs.uri, str(outputs.disk), *options[1::2]])
    return outputs


def test_the_same_files(outputs: Outputs) -> None:
    disk = outputs.disk
    files = [p.relative_to(disk).as_posix() for p in (disk / "out").rglob("*") if p.is_file()]
    keys = outputs.store.keys(outputs.bucket, "out/")
    # An empty object named as a directory is pyarrow's mark that there is one.
    assert sorted(k for k in keys if not k.endswith("/")) == sorted(files)


@pytest.mark.parametrize("folder", ["data/train", "data/val", "data/test", "scores"])
def test_the_same_rows(outputs: Outputs, folder: str) -> None:
    there, here = outputs.both(folder)
    assert there.num_rows > 50
    assert there.equals(here)


def test_the_same_weights_and_metrics(outputs: Outputs) -> None:
    for name in ("model/model.safetensors", "report/metrics.json"):
        assert outputs.store.get(outputs.bucket, f"out/{name}") == (outputs.disk / "out" / name).read_bytes()


def test_the_same_command_twice_does_nothing(outputs: Outputs, options: list[str]) -> None:
    before = outputs.versions()
    uri = outputs.uri
    again = command("run", f"{uri}/dumps/*.json.gz", "--output", f"{uri}/out", *options)
    run(outputs.store.env, again)
    assert outputs.versions() == before


def test_an_interrupted_score_goes_on_from_its_chunks(outputs: Outputs, options: list[str]) -> None:
    before = outputs.versions()
    parts = [k for k in before if k.startswith("out/scores/part-")]
    assert len(parts) > 1
    for key in ("out/scores/manifest.json", parts[0]):
        outputs.store.client.delete_object(Bucket=outputs.bucket, Key=key)
    out = f"{outputs.uri}/out"
    again = command("score", f"{out}/data/test", "--model", f"{out}/model", "--output", f"{out}/scores")
    said = run(outputs.store.env, again + options)
    assert f"score: {counted(len(parts) - 1, 'chunk')} done before; going on" in said
    after = outputs.versions()
    assert {k: after[k] for k in parts[1:]} == {k: before[k] for k in parts[1:]}
    there, here = outputs.both("scores")
    assert there.equals(here)


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_checkpoint(outputs: Outputs, options: list[str]) -> None:
    store, bucket = outputs.store, outputs.bucket
    train = command("train", "--data", f"{outputs.uri}/out/data", "--output", f"{outputs.uri}/cut", *options)
    train += ["--set", "train.checkpoint_every_steps=5"]
    process = subprocess.Popen(train, cwd=ROOT, env=os.environ | store.env, stderr=subprocess.DEVNULL)
    try:
        wait_for_checkpoint(outputs, process)
    finally:
        started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        # A worker that has not noticed yet may make another checkpoint.
        psutil.wait_procs(started, timeout=60)
    assert "cut/manifest.json" not in store.keys(bucket)
    # The history tells whether the second run began anew.
    for key in store.keys(bucket, "cut/checkpoints/"):
        if key.endswith("/state.json"):
            mark = {"epoch": -1, "val_loss": 9.0, "val_accuracy": 0.0}
            state = json.loads(store.get(bucket, key))
            # It may have come to the end of the epoch before it was killed.
            state["history"].insert(0, mark)
            store.put(bucket, key, json.dumps(state).encode())
    run(store.env, train)
    assert store.get(bucket, "cut/model.safetensors") == store.get(bucket, "out/model/model.safetensors")
    history = json.loads(store.get(bucket, "cut/manifest.json"))["details"]["history"]
    assert [entry["epoch"] for entry in history] == [-1, 0]
    assert [k for k in store.keys(bucket, "cut/checkpoints/") if not k.endswith("/")] == []


def wait_for_checkpoint(outputs: Outputs, process: subprocess.Popen[bytes]) -> None:
    """Until Ray has noted a first checkpoint as whole."""
    key = "cut/checkpoints/checkpoint_manager_snapshot.json"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        noted = outputs.store.keys(outputs.bucket, key) and outputs.store.get(outputs.bucket, key)
        if noted and re.search(rb"\bcheckpoint_\d", noted):
            return
        time.sleep(0.05)
    raise AssertionError("the training ended, or made no checkpoint in time")


def test_a_job_with_queries_in_its_uris(store: Store, dump: Path, options: list[str]) -> None:
    bucket, query = store.new_bucket(), f"?region=us-east-1&endpoint_override={store.url}"
    for file in dump.iterdir():
        store.put(bucket, f"dumps/{file.name}", file.read_bytes())
    env = store.env | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    uris = {name: f"s3://{bucket}/{name}{query}" for name in ("dumps", "data", "model")}
    run(env, command("prepare", uris["dumps"], "--output", uris["data"], *options))
    about = json.loads(store.get(bucket, "data/manifest.json"))
    assert [f["path"] for f in about["inputs"]] == [
        f"s3://{bucket}/dumps/{name}{query}" for name in sorted(p.name for p in dump.iterdir())
    ]
    for output in about["outputs"]:
        assert len(store.get(bucket, f"data/{output['path']}")) == output["bytes"]
    run(env, command("train", "--data", uris["data"], "--output", uris["model"], "--dry-run", *options))


def test_a_synthetic_dump_is_written_to_a_bucket(store: Store, tmp_path: Path) -> None:
    bucket = store.new_bucket()
    for place in (f"s3://{bucket}/dump", tmp_path / "dump"):
        run(store.env, command("synth", "--rows", 500, "--shards", 2, "--workers", 2, "--output", place))
    files = {f"dump/{p.name}": p.read_bytes() for p in (tmp_path / "dump").iterdir()}
    assert sorted(files)[0] == "dump/.synth.json"
    assert len(files) == 3
    assert {key: store.get(bucket, key) for key in store.keys(bucket) if not key.endswith("/")} == files


def test_a_model_to_start_from_may_be_in_a_bucket(
    store: Store, outputs: Outputs, tiny_model: Path, options: list[str], tmp_path: Path
) -> None:
    for file in tiny_model.iterdir():
        store.put(outputs.bucket, f"base/{file.name}", file.read_bytes())
    arguments = ("--data", outputs.disk / "out" / "data", "--model", f"{outputs.uri}/base")
    plan = command("train", *arguments, "--output", tmp_path / "model", *options[2:], "--dry-run")
    run(store.env | {"TMPDIR": str(tmp_path)}, plan)
    assert list(tmp_path.glob("rayview-models-*/*/model.safetensors"))
