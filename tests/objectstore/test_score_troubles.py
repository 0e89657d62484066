"""A scoring job whose store fails for a while, or for good: nothing is lost, and nothing is half there."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3server import Fault, Proxy, Store, faulty, s3_error

from pipeline.errors import OutputError

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[2]
SETS = ["input.chunk_bytes=65536", "score.precision=float32", "cluster.num_cpus=2"]


@dataclass
class Scoring:
    """A bucket with a dump, a model on the disk, and the job that scores the one with the other."""

    store: Store
    bucket: str
    model: str
    url: str
    proxy: Proxy

    def run(self, output: str, job: str = "score") -> tuple[int, str]:
        """Exit code, and what was said."""
        uri = f"s3://{self.bucket}"
        command = [sys.executable, "-m", f"jobs.{job}"]
        if job == "score":
            command += [f"{uri}/dump", "--model", self.model, "--output", f"{uri}/{output}"]
            command += [item for pair in SETS for item in ("--set", pair)]
        else:
            command += [f"{uri}/{output}"]
        env = os.environ | self.store.env | {"AWS_ENDPOINT_URL": self.url}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400)
        return done.returncode, done.stderr

    def rows(self, output: str) -> pa.Table:
        keys = sorted(self.store.keys(self.bucket, f"{output}/part-"))
        tables = [pq.read_table(io.BytesIO(self.store.get(self.bucket, key))) for key in keys]
        return pa.concat_tables([table.replace_schema_metadata() for table in tables])


@pytest.fixture(scope="module")
def scoring(store: Store, dump: Path, untrained: str) -> Iterator[Scoring]:
    bucket = store.new_bucket()
    for file in dump.iterdir():
        store.put(bucket, f"dump/{file.name}", file.read_bytes())
    with faulty(store.url) as (url, proxy):
        made = Scoring(store, bucket, untrained, url, proxy)
        assert made.run("plain")[0] == 0
        yield made


def is_of_part(path: str, output: str) -> bool:
    return f"/{output}/part-" in path


TROUBLES = {"an error": s3_error(500, "InternalError"), "no answer": Fault()}


@pytest.mark.parametrize("name", ["no answer", pytest.param("an error", marks=pytest.mark.slow)])
def test_a_store_that_fails_for_a_while_in_mid_job(scoring: Scoring, name: str) -> None:
    output, began = f"while-{name.replace(' ', '-')}", threading.Event()
    until, failed = [0.0], [0]

    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        if method == "PUT" and is_of_part(path, output) and not began.is_set():
            # From the first part on nothing works for some seconds: neither reading, nor writing, nor asking.
            until[0] = time.monotonic() + 4
            began.set()
        if began.is_set() and time.monotonic() < until[0]:
            failed[0] += 1
            return TROUBLES[name]
        return None

    scoring.proxy.rule = rule
    code, said = scoring.run(output)
    scoring.proxy.rule = lambda method, path, headers: None
    assert code == 0, said
    assert failed[0] > 1
    assert scoring.rows(output).equals(scoring.rows("plain"))
    assert scoring.run(output, "verify")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no leave", "an error"])
def test_a_store_that_fails_for_good_is_told_and_the_job_goes_on_later(scoring: Scoring, name: str) -> None:
    output, written = f"good-{name.replace(' ', '-')}", list[str]()
    fault = s3_error(403, "AccessDenied") if name == "no leave" else s3_error(500, "InternalError")

    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        if method == "PUT" and is_of_part(path, output):
            written.append(path)
            return fault if len(written) > 1 else None
        return None

    scoring.proxy.rule = rule
    code, said = scoring.run(output)
    scoring.proxy.rule = lambda method, path, headers: None
    assert code == OutputError.exit_code
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    where = rf"error: s3://{scoring.bucket}/{output}/part-\d+-\d+\.parquet: cannot be written: "
    assert re.match(where, errors[0])
    assert "Traceback" not in said
    parts = [k for k in scoring.store.keys(scoring.bucket, f"{output}/") if "/part-" in k]
    assert len(parts) == 1
    code, said = scoring.run(output)
    assert code == 0, said
    assert "score: 1 chunk done before; going on" in said
    assert scoring.rows(output).equals(scoring.rows("plain"))
    manifest = json.loads(scoring.store.get(scoring.bucket, f"{output}/manifest.json"))
    assert manifest["counts"]["lines"] == 1200
    assert scoring.run(output, "verify")[0] == 0
