"""A job that fails or is interrupted ends with one line, an exit code, and a log if that helps."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from jobs.cli import session
from jobs.failures import explain
from pipeline.errors import AccountingError, SettingError
from pipeline.rundir import claim


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYVIEW_LOG_DIR", str(tmp_path / "logs"))
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (SettingError("x=1: wrong"), "error: x=1: wrong", 2),
        (AccountingError("lines lost"), "error: lines lost", 3),
        (SettingError("x=1\n2: wrong"), "error: x=1 2: wrong", 2),
        (KeyboardInterrupt(), "score: interrupted; rerun the same command to resume", 1),
    ],
)
def test_known_error_is_one_line_without_a_log(log: Path, error: Exception, line: str, code: int) -> None:
    assert explain(error, "score", log) == (line, code)
    assert not log.exists()


def test_interrupt_that_led_to_another_error_is_an_interrupt(log: Path) -> None:
    """As in a queue whose lock is being acquired."""
    lock = threading.Lock()
    try:
        with lock:
            lock.release()
            raise KeyboardInterrupt
    except RuntimeError as error:
        found = explain(error, "score", log)
    assert found == ("score: interrupted; rerun the same command to resume", 1)


def test_unknown_error_names_the_log_with_its_traceback(log: Path) -> None:
    try:
        raise ValueError("oops\nmore")
    except ValueError as error:
        found = explain(error, "score", log)
    assert found == (f"error: score failed: ValueError: oops; the log is {log}", 1)
    assert "Traceback" in log.read_text()
    assert "oops\nmore" in log.read_text()


def test_interrupted_overwrite_resumes_without_that_option(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs.score", "--overwrite"])
    line, _ = explain(KeyboardInterrupt(), "score", log)
    assert line == "score: interrupted; rerun the command without --overwrite to resume"


def test_second_interrupt_does_not_disturb_the_end_of_a_job(
    log: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claim, "release_outputs", lambda: signal.raise_signal(signal.SIGINT))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as end, session("trial"):
        signal.raise_signal(signal.SIGINT)
    assert end.value.code == 1
    assert capfd.readouterr().err == "trial: interrupted; rerun the same command to resume\n"
    assert signal.getsignal(signal.SIGINT) == handler


def test_output_of_libraries_is_logged_and_an_empty_log_is_deleted(
    log: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with session("quiet") as job:
        job.print("a result")
    assert not list((tmp_path / "logs").iterdir())
    with session("loud"):
        os.write(1, b"one\n")
        os.write(2, b"two\n")
    (file,) = (tmp_path / "logs").iterdir()
    assert file.read_text() == "one\ntwo\n"
    assert capfd.readouterr() == ("a result\n", "")


def test_log_that_cannot_be_written_is_a_user_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYVIEW_LOG_DIR", "/proc/rayview")
    with pytest.raises(SystemExit) as end, session("trial"):
        raise AssertionError("the job must not run")
    assert end.value.code == 2
    assert capfd.readouterr().err.startswith("error: /proc/rayview: no log can be written (")
