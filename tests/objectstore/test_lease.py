"""Two jobs on one directory of a store: the second is refused while the first lives, and no longer."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest
from s3server import Store

from jobs.cli import session
from pipeline import lease as module
from pipeline.errors import OutputError
from pipeline.lease import LEASE_FILE, Lease
from pipeline.outputs import State, begin, inspect_output, release_outputs
from pipeline.storage import Location, locate
from tests.runs import RUN


@pytest.fixture
def out(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Location]:
    """A directory in a store, and jobs that live ten times as fast."""
    monkeypatch.setattr(module, "BEAT_S", 0.5)
    monkeypatch.setattr(module, "_DEAD_AFTER_S", 1.5)
    monkeypatch.setattr(module, "_POLL_S", 0.05)
    monkeypatch.setattr(module, "_RACE_S", 0.1)
    yield locate(f"s3://{bucket}/out")
    release_outputs()


def test_the_second_job_is_refused_while_the_first_lives(out: Location) -> None:
    first = Lease.take(out)
    about = json.loads(out.child(LEASE_FILE).read_bytes())
    who = f"process {about['pid']} on {about['host']}"
    before = time.monotonic()
    with pytest.raises(OutputError, match=rf"/out: another job is writing there \({who}\); wait for its end"):
        Lease.take(out)
    assert time.monotonic() - before < 2
    # It goes on for as long as the first one lives.
    time.sleep(1)
    with pytest.raises(OutputError):
        Lease.take(out)
    first.release()
    assert not out.child(LEASE_FILE).exists()
    Lease.take(out).release()


@pytest.mark.parametrize("content", [b'{"owner": "x", "host": "h", "pid": 1, "beats": 7}', b"", b"no JSON"])
def test_a_dead_job_blocks_nobody_for_ever(out: Location, content: bytes) -> None:
    out.child(LEASE_FILE).write_bytes(content)
    before = time.monotonic()
    lease = Lease.take(out)
    assert 1.5 <= time.monotonic() - before < 5
    lease.release()


def test_of_two_that_begin_together_one_is_refused(out: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    other = json.dumps({"owner": "other", "host": "h", "pid": 2}).encode()
    monkeypatch.setattr(module.time, "sleep", lambda _: out.child(LEASE_FILE).write_bytes(other))
    with pytest.raises(OutputError, match="process 2 on h"):
        Lease.take(out)
    assert out.child(LEASE_FILE).read_bytes() == other


def test_a_run_holds_its_directory_until_it_is_let_go(out: Location, store: Store, bucket: str) -> None:
    assert begin(out, RUN) is State.FRESH
    assert f"out/{LEASE_FILE}" in store.keys(bucket)
    with pytest.raises(OutputError, match="another job is writing there"):
        Lease.take(out)
    # The same process may go on, and clean up.
    assert begin(out, RUN) is State.UNFINISHED
    assert begin(out, RUN, overwrite=True) is State.FRESH
    assert f"out/{LEASE_FILE}" in store.keys(bucket)
    release_outputs()
    assert [f.name for f in out.list_files()] == ["run.json"]
    assert f"out/{LEASE_FILE}" not in store.keys(bucket)
    assert inspect_output(out, RUN) is State.UNFINISHED


def test_a_job_that_was_taken_for_dead_ends_with_the_reason(
    out: Location, capfd: pytest.CaptureFixture[str]
) -> None:
    # As with a job that a script has started in the background.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    other = json.dumps({"owner": "other", "host": "h", "pid": 2}).encode()

    def job() -> None:
        with session("score"):
            begin(out, RUN)
            out.child(LEASE_FILE).write_bytes(other)
            time.sleep(10)

    try:
        with pytest.raises(SystemExit) as end:
            job()
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == OutputError.exit_code
    why = "it took this one for dead, which had not reached the storage for a while"
    expected = f"error: {out.uri}: another job is writing there; {why}"
    assert capfd.readouterr().err.splitlines() == [expected]
    # That one's right to be there is left to it.
    assert out.child(LEASE_FILE).read_bytes() == other
