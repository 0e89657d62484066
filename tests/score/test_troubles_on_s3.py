"""A scoring job whose store fails, temporarily or permanently, loses no chunk and writes no partial file."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import OutputError
from tests.chaos.kills import rows_of
from tests.commands import Outcome, RunJob
from tests.s3server import Fault, Proxy, Store, faulty, s3_error
from tests.score.small_job import OPTIONS

pytestmark = pytest.mark.ray


@dataclass
class Scoring:
    """A scoring job that reads a dump from a bucket, and writes to it, through a proxy."""

    store: Store
    bucket: str
    model: str
    url: str
    """Address of the proxy."""
    proxy: Proxy
    undisturbed: Path
    """The same scores on disk, written without faults."""

    def uri(self, path: str, url: str) -> str:
        return f"s3://{self.bucket}/{path}?region=us-east-1&endpoint_override={url}"

    def run(self, run_job: RunJob, output: str) -> Outcome:
        dump, out = self.uri("dump", self.url), self.uri(output, self.url)
        return run_job("score", dump, "--model", self.model, "--output", out, *OPTIONS)

    def is_complete(self, run_job: RunJob, output: str) -> bool:
        """Whether the output passes verification and has the rows of the undisturbed run."""
        uri = self.uri(output, self.store.url)
        same = rows_by_file(uri).equals(rows_by_file(str(self.undisturbed)))
        return same and run_job("verify", uri).code == 0


def rows_by_file(scores: str) -> pa.Table:
    """Rows of a scores directory; `source` is the name of the dump without its location."""
    rows = rows_of(scores)
    names = [source.partition("?")[0].rpartition("/")[2] for source in rows["source"].to_pylist()]
    return rows.set_column(0, "source", pa.array(names)).replace_schema_metadata()


@pytest.fixture(scope="module")
def scoring(store: Store, dump: Path, untrained: str, undisturbed: Path) -> Iterator[Scoring]:
    bucket = store.new_bucket()
    for file in dump.iterdir():
        store.put(bucket, f"dump/{file.name}", file.read_bytes())
    with faulty(store.url) as (url, proxy):
        yield Scoring(store, bucket, untrained, url, proxy, undisturbed)


def is_of_part(path: str, output: str) -> bool:
    return f"/{output}/part-" in path


TROUBLES = {"an error": s3_error(500, "InternalError"), "no answer": Fault()}


@pytest.mark.parametrize("name", ["no answer", pytest.param("an error", marks=pytest.mark.slow)])
def test_job_survives_a_temporary_outage_of_the_store(scoring: Scoring, run_job: RunJob, name: str) -> None:
    output, began = f"temporary-{name.replace(' ', '-')}", threading.Event()
    until, failed = [0.0], [0]

    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        if method == "PUT" and is_of_part(path, output) and not began.is_set():
            # Every request fails for 4 s, from the first part on.
            until[0] = time.monotonic() + 4
            began.set()
        if began.is_set() and time.monotonic() < until[0]:
            failed[0] += 1
            return TROUBLES[name]
        return None

    scoring.proxy.rule = rule
    code, _, said = scoring.run(run_job, output)
    scoring.proxy.rule = lambda method, path, headers: None
    assert code == 0, said
    assert failed[0] > 1
    assert scoring.is_complete(run_job, output)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["access denied", "an error"])
def test_permanent_failure_of_the_store_is_reported_and_the_job_resumes_later(
    scoring: Scoring, run_job: RunJob, name: str
) -> None:
    output, written = f"permanent-{name.replace(' ', '-')}", list[str]()
    fault = s3_error(403, "AccessDenied") if name == "access denied" else s3_error(500, "InternalError")

    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        if method == "PUT" and is_of_part(path, output):
            written.append(path)
            return fault if len(written) > 1 else None
        return None

    scoring.proxy.rule = rule
    code, _, said = scoring.run(run_job, output)
    scoring.proxy.rule = lambda method, path, headers: None
    assert code == OutputError.exit_code
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    where = rf"error: s3://{scoring.bucket}/{output}/part-\d+-\d+\.parquet\?\S+: cannot be written: "
    assert re.match(where, errors[0])
    assert "Traceback" not in said
    parts = [k for k in scoring.store.keys(scoring.bucket, f"{output}/") if "/part-" in k]
    assert len(parts) == 1
    code, _, said = scoring.run(run_job, output)
    assert code == 0, said
    assert "score: 1 chunk committed by an earlier job; resuming" in said
    assert scoring.is_complete(run_job, output)
    manifest = json.loads(scoring.store.get(scoring.bucket, f"{output}/manifest.json"))
    assert manifest["counts"]["lines"] == 1200
