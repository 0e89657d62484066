"""Two jobs on one directory of a store: the second is refused only while the first is alive."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from jobs.cli import session
from pipeline.errors import OutputError
from pipeline.rundir import lease as module
from pipeline.rundir.claim import State, begin, inspect_output, release_outputs
from pipeline.rundir.lease import LEASE_FILE, Lease, LeaseTiming
from pipeline.storage.location import Location, locate
from tests.runs import RUN
from tests.s3server import Fault, Store, faulty, s3_error

FAST = LeaseTiming(heartbeat_s=0.2, expires_s=2.5, poll_s=0.05, race_s=0.05, release_s=0.15)
"""The gap between heartbeat and expiry tolerates a busy machine."""


@pytest.fixture
def fast_bucket(bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket, and jobs with a faster heartbeat."""
    monkeypatch.setattr(module, "TIMING", FAST)
    return bucket


@pytest.fixture
def out(fast_bucket: str) -> Iterator[Location]:
    """A directory in a store."""
    yield locate(f"s3://{fast_bucket}/out")
    release_outputs()


def test_second_job_is_refused_while_the_first_is_alive(out: Location) -> None:
    first = Lease.take(out)
    about = json.loads(out.child(LEASE_FILE).read_bytes())
    who = f"process {about['pid']} on {about['host']}"
    before = time.monotonic()
    with pytest.raises(OutputError, match=rf"/out: another job is writing to this directory \({who}\);"):
        Lease.take(out)
    assert time.monotonic() - before < FAST.expires_s
    # The heartbeat continues: a later attempt is refused too.
    wait_until(lambda: json.loads(out.child(LEASE_FILE).read_bytes())["beats"] > about["beats"] + 2)
    with pytest.raises(OutputError):
        Lease.take(out)
    first.release()
    assert not out.child(LEASE_FILE).exists()
    Lease.take(out).release()


@pytest.mark.parametrize("content", [b'{"owner": "x", "host": "h", "pid": 1, "beats": 7}', b"", b"no JSON"])
def test_lease_of_a_dead_job_expires(out: Location, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    expires_s = 0.8
    monkeypatch.setattr(module, "TIMING", replace(FAST, expires_s=expires_s))
    out.child(LEASE_FILE).write_bytes(content)
    before = time.monotonic()
    lease = Lease.take(out)
    assert expires_s <= time.monotonic() - before < 4 * expires_s
    lease.release()


def test_one_of_two_jobs_that_start_together_is_refused(
    out: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = json.dumps({"owner": "other", "host": "h", "pid": 2}).encode()
    monkeypatch.setattr(module.time, "sleep", lambda _: out.child(LEASE_FILE).write_bytes(other))
    with pytest.raises(OutputError, match="process 2 on h"):
        Lease.take(out)
    assert out.child(LEASE_FILE).read_bytes() == other


def test_run_holds_the_lease_until_release(out: Location, store: Store, bucket: str) -> None:
    assert begin(out, RUN) is State.FRESH
    assert f"out/{LEASE_FILE}" in store.keys(bucket)
    with pytest.raises(OutputError, match="another job is writing to this directory"):
        Lease.take(out)
    # The same process may begin again, also with overwrite.
    assert begin(out, RUN) is State.UNFINISHED
    assert begin(out, RUN, overwrite=True) is State.FRESH
    assert f"out/{LEASE_FILE}" in store.keys(bucket)
    release_outputs()
    assert [f.name for f in out.list_files()] == ["run.json"]
    assert f"out/{LEASE_FILE}" not in store.keys(bucket)
    assert inspect_output(out, RUN) is State.UNFINISHED


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """SIGTERM signals that this process received."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


def is_lease(path: str) -> bool:
    return LEASE_FILE in path


def test_lease_survives_temporary_errors_of_the_store(
    fast_bucket: str, store: Store, signals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def refuse(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        # The file can be looked up, but not read.
        if method != "GET" or not is_lease(path) or len(refused) == 3:
            return None
        refused.append(path)
        return s3_error(403, "AccessDenied")

    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        lease = Lease.take(locate(f"s3://{fast_bucket}/here"))
        proxy.rule = refuse
        wait_until(lambda: len(refused) == 3)
        writes = len(proxy.requests)
        wait_until(lambda: any(r.startswith("PUT") and is_lease(r) for r in proxy.requests[writes:]))
        assert not lease.is_lost
        lease.release()
    assert signals == []


def test_release_during_a_slow_heartbeat_does_not_lose_the_lease(
    fast_bucket: str, store: Store, signals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()

    def hang(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        if method != "GET" or not is_lease(path) or slow.is_set():
            return None
        slow.set()
        # Longer than `release` waits; the response then has the state at that time.
        return Fault(hang_s=4 * FAST.release_s, cut_after=1 << 20)

    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        lease = Lease.take(locate(f"s3://{fast_bucket}/here"))
        proxy.rule = hang
        assert slow.wait(30)
        lease.release()
        time.sleep(8 * FAST.release_s)
        assert not lease.is_lost
        assert not locate(f"s3://{fast_bucket}/here").child(LEASE_FILE).exists()
    assert signals == []


def test_job_whose_lease_was_deleted_ends(out: Location, signals: list[int]) -> None:
    """Another job took over and has finished."""
    lease = Lease.take(out)
    out.child(LEASE_FILE).delete_file()
    wait_until(lambda: bool(signals))
    assert lease.is_lost
    assert not out.child(LEASE_FILE).exists()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_job_whose_lease_was_taken_over_ends_with_the_reason(
    out: Location, capfd: pytest.CaptureFixture[str]
) -> None:
    # A shell script starts background jobs with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    other = json.dumps({"owner": "other", "host": "h", "pid": 2}).encode()

    def job() -> None:
        with session("score"):
            begin(out, RUN)
            out.child(LEASE_FILE).write_bytes(other)
            wait_until(lambda: False)

    try:
        with pytest.raises(SystemExit) as end:
            job()
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == OutputError.exit_code
    why = "this job's lease expired (no heartbeat reached the storage), and another job took over"
    expected = f"error: {out.uri}: {why}"
    assert capfd.readouterr().err.splitlines() == [expected]
    # The lease of the other job is kept.
    assert out.child(LEASE_FILE).read_bytes() == other
