"""Files of a run are deleted from a bucket in an order that is safe to interrupt at any request."""

from __future__ import annotations

import re

import pytest

from pipeline.errors import OutputError
from pipeline.rundir import lease
from pipeline.rundir.claim import State, begin, inspect_output, release_outputs
from pipeline.rundir.lease import LeaseTiming
from pipeline.rundir.manifest import OutputFile, write_manifest
from pipeline.storage.location import Location, locate
from tests.runs import manifest_of, run_of
from tests.s3server import Fault, Store, faulty, s3_error

RUN = run_of("prepare")
OTHER = RUN.model_copy(update={"settings": {}})
NAMES = ["train/part-00000.parquet", "train/part-00001.parquet", "val/part-00000.parquet", "card.md"]
DELETES = re.compile(r"DELETE |POST /[^/]+/?\?delete")
"""Matches requests that delete one or several objects."""


@pytest.fixture(autouse=True)
def fast_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the check for a competing job on each new lease; these tests have no other job."""
    monkeypatch.setattr(lease, "TIMING", LeaseTiming(race_s=0.01))


def finished(out: Location) -> Location:
    """Write a directory as a finished stage leaves it."""
    begin(out, RUN)
    for name in NAMES:
        out.child(name).write_bytes(b"rows")
    outputs = [OutputFile(path=name, bytes=4) for name in NAMES]
    write_manifest(out, manifest_of(RUN, outputs=outputs))
    return out


def test_manifest_is_deleted_first_and_run_json_last(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        out = finished(locate(f"s3://{bucket}/out"))
        store.put(bucket, "outer/notes.txt", b"mine")
        proxy.requests.clear()
        assert begin(out, OTHER, overwrite=True) is State.FRESH
        deletions = [r for r in proxy.requests if DELETES.match(r)]
    release_outputs()
    assert deletions[0].startswith(f"DELETE /{bucket}/out/manifest.json")
    assert deletions[-1].startswith(f"DELETE /{bucket}/out/run.json")
    keys = [key for key in store.keys(bucket) if not key.endswith("/")]
    assert keys == ["out/run.json", "outer/notes.txt"]


def test_failed_deletion_leaves_an_unfinished_directory(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [0]

    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        left[0] -= bool(DELETES.match(f"{method} {path}"))
        return s3_error(403, "AccessDenied") if left[0] < 0 else None

    plenty = 1000
    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        proxy.rule = rule
        allowed, whole = 0, False
        while not whole:
            left[0] = plenty
            out = finished(locate(f"s3://{bucket}/{allowed}"))
            left[0] = allowed
            try:
                whole = begin(out, OTHER, overwrite=True) is State.FRESH
            except OutputError:
                left[0] = plenty
                assert inspect_output(out, RUN) is (State.UNFINISHED if allowed else State.FINISHED)
                assert begin(out, OTHER, overwrite=True) is State.FRESH
            allowed += 1
    assert allowed > len(NAMES)


def test_run_json_is_kept_while_any_file_remains(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        denied = f"{method} {path}" == f"DELETE /{bucket}/out/card.md"
        return s3_error(403, "AccessDenied") if denied else None

    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        out = finished(locate(f"s3://{bucket}/out"))
        proxy.rule = rule
        with pytest.raises(OutputError, match=r"card\.md: cannot be deleted: access denied"):
            begin(out, OTHER, overwrite=True)
        release_outputs()
        assert sorted(out.sizes()) == ["card.md", "run.json"]
        assert inspect_output(out, RUN) is State.UNFINISHED
