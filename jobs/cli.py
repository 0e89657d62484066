"""Session of a job: its output, its connection to Ray, and its exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import typer

from jobs.capture import captured_output, new_log
from jobs.failures import explain
from pipeline.errors import UserError
from pipeline.runtime.worker_errors import clear_frames

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.progress import Reporter
    from pipeline.runtime.pools import Cluster


class Session:
    """Running job: its output and its connection to Ray."""

    def __init__(self, reporter: Reporter, stdout: TextIO) -> None:
        self.reporter = reporter
        self.stdout = stdout
        self._cluster: Cluster | None = None

    def print(self, text: str = "") -> None:
        """Print a line of the result."""
        self.stdout.write(f"{text}\n")
        self.stdout.flush()

    def connect(self, config: Config) -> Cluster:
        """Join or start Ray; see `connect`."""
        from pipeline.runtime.connect import connect

        if self._cluster is None:
            self.reporter.say("connecting to Ray")
            self._cluster = connect(config.cluster, self.reporter.say)
            # Ray has installed its own handler, which exits with the number of the signal.
            signal.signal(signal.SIGTERM, _interrupt)
            self.reporter.say(f"Ray: {self._cluster}")
        return self._cluster


@contextmanager
def session(name: str) -> Iterator[Session]:
    """Run the body of a job: errors become one line and an exit code; disconnects from Ray at the end.

    Output of libraries and Ray goes to a log file, which the message of an unexpected error names.

    Raises:
        SystemExit: the job failed; jobs/README.md lists the exit codes.
    """
    # Otherwise a call to Ray after shutdown, for example from a destructor, would start Ray again.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        log = new_log(name)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
    was_connected = _is_connected()
    with captured_output(log) as (stdout, stderr), _terminable():
        code = 0
        reporter = _reporter(stderr)
        try:
            yield Session(reporter, stdout)
        except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  Last handler that can explain it.
            _ignore_interrupts()
            message, code = explain(error, name, log)
            reporter.say(message)
            # A running dataset must end before Ray does.
            clear_frames(error)
        finally:
            _ignore_interrupts()
            if not was_connected:
                _disconnect()
            _release_outputs()
    if code:
        raise SystemExit(code)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM, which `ray job stop` sends, end a job like Ctrl-C."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_interrupts() -> None:
    """Ignore further interrupts during an orderly shutdown, which takes seconds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _reporter(stream: TextIO) -> Reporter:
    from rich.console import Console

    from pipeline.progress import Reporter

    return Reporter(Console(file=stream))


def _is_connected() -> bool:
    """Whether this process is connected to Ray; imports nothing."""
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())


def _disconnect() -> None:
    if _is_connected():
        sys.modules["ray"].shutdown()


def _release_outputs() -> None:
    if "pipeline.rundir.claim" in sys.modules:
        from pipeline.rundir.claim import release_outputs

        release_outputs()


def run(main: Callable[..., None]) -> None:
    """Run a job's main function as a command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
