"""A scoring job whose store fails for a while, or for good: nothing is lost, and nothing is half there."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import OutputError
from pipeline.progress import Reporter
from pipeline.score.stage import plan, score
from pipeline.settings import load_config
from tests.commands import Outcome, RunJob, run_in_subprocess
from tests.s3server import Fault, Proxy, Store, faulty, s3_error

pytestmark = pytest.mark.ray

SETS = ["input.chunk_bytes=65536", "score.precision=float32", "score.num_actors=1", "cluster.num_cpus=2"]


@dataclass
class Scoring:
    """A bucket with a dump, a model on the disk, and the job that scores the one with the other."""

    store: Store
    bucket: str
    model: str
    url: str
    proxy: Proxy
    plain: Path
    """The same scores on the disk, where nothing failed."""

    def run(self, output: str) -> Outcome:
        uri = f"s3://{self.bucket}"
        arguments = (f"{uri}/dump", "--model", self.model, "--output", f"{uri}/{output}")
        sets = [item for pair in SETS for item in ("--set", pair)]
        return run_in_subprocess(
            "score", *arguments, *sets, env=self.store.env | {"AWS_ENDPOINT_URL": self.url}
        )

    def is_whole(self, output: str) -> bool:
        """Whether the rows are those of the plain run."""
        keys = sorted(self.store.keys(self.bucket, f"{output}/part-"))
        there = rows_of([self.store.get(self.bucket, key) for key in keys])
        return there.equals(rows_of([f.read_bytes() for f in sorted(self.plain.glob("part-*"))]))


def rows_of(parts: list[bytes]) -> pa.Table:
    """The rows of some parts; of their dumps only the names."""
    whole = pa.concat_tables([pq.read_table(io.BytesIO(part)).replace_schema_metadata() for part in parts])
    names = [uri.rpartition("/")[2] for uri in whole["source"].to_pylist()]
    return whole.set_column(0, "source", pa.array(names))


@pytest.fixture(scope="module")
def scoring(
    store: Store, dump: Path, untrained: str, cluster: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scoring]:
    bucket, plain = store.new_bucket(), tmp_path_factory.mktemp("plain") / "scores"
    for file in dump.iterdir():
        store.put(bucket, f"dump/{file.name}", file.read_bytes())
    score(plan([str(dump)], untrained, str(plain), load_config(None, SETS)), cluster, Reporter())
    with faulty(store.url) as (url, proxy):
        yield Scoring(store, bucket, untrained, url, proxy, plain)


def is_of_part(path: str, output: str) -> bool:
    return f"/{output}/part-" in path


TROUBLES = {"an error": s3_error(500, "InternalError"), "no answer": Fault()}


@pytest.mark.parametrize("name", ["no answer", pytest.param("an error", marks=pytest.mark.slow)])
def test_a_store_that_fails_for_a_while_in_mid_job(scoring: Scoring, run_job: RunJob, name: str) -> None:
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
    code, _, said = scoring.run(output)
    scoring.proxy.rule = lambda method, path, headers: None
    assert code == 0, said
    assert failed[0] > 1
    assert scoring.is_whole(output)
    assert run_job("verify", f"s3://{scoring.bucket}/{output}", env=scoring.store.env).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no leave", "an error"])
def test_a_store_that_fails_for_good_is_told_and_the_job_goes_on_later(
    scoring: Scoring, run_job: RunJob, name: str
) -> None:
    output, written = f"good-{name.replace(' ', '-')}", list[str]()
    fault = s3_error(403, "AccessDenied") if name == "no leave" else s3_error(500, "InternalError")

    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        if method == "PUT" and is_of_part(path, output):
            written.append(path)
            return fault if len(written) > 1 else None
        return None

    scoring.proxy.rule = rule
    code, _, said = scoring.run(output)
    scoring.proxy.rule = lambda method, path, headers: None
    assert code == OutputError.exit_code
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    where = rf"error: s3://{scoring.bucket}/{output}/part-\d+-\d+\.parquet: cannot be written: "
    assert re.match(where, errors[0])
    assert "Traceback" not in said
    parts = [k for k in scoring.store.keys(scoring.bucket, f"{output}/") if "/part-" in k]
    assert len(parts) == 1
    code, _, said = scoring.run(output)
    assert code == 0, said
    assert "score: 1 chunk committed by an earlier job; resuming" in said
    assert scoring.is_whole(output)
    manifest = json.loads(scoring.store.get(scoring.bucket, f"{output}/manifest.json"))
    assert manifest["counts"]["lines"] == 1200
    assert run_job("verify", f"s3://{scoring.bucket}/{output}", env=scoring.store.env).code == 0
