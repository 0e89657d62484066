"""The session of a job: what it reports to, what it runs on, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import typer

from jobs.capture import captured_output, new_log
from jobs.failures import clear_frames, explain
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.progress import Reporter
    from pipeline.runtime.pools import Cluster


class Session:
    """A running job: where it reports, and what it runs on."""

    def __init__(self, reporter: Reporter, stdout: TextIO) -> None:
        self.reporter = reporter
        self.stdout = stdout
        self._cluster: Cluster | None = None

    def print(self, text: str = "") -> None:
        """Print a line of the job's result."""
        self.stdout.write(f"{text}\n")
        self.stdout.flush()

    def connect(self, config: Config) -> Cluster:
        """Join or start Ray; see `connect`."""
        from pipeline.runtime.connect import connect

        if self._cluster is None:
            self.reporter.say("connecting to Ray")
            self._cluster = connect(config.cluster, self.reporter.say)
            # Ray has installed a handler of its own, which exits with the signal's number.
            signal.signal(signal.SIGTERM, _interrupt)
            self.reporter.say(f"Ray: {self._cluster}")
        return self._cluster


@contextmanager
def session(name: str) -> Iterator[Session]:
    """Run a job's body: errors become one line and an exit code, Ray is left as it was found.

    Everything that libraries and Ray print goes to a log file, which is named after an unexpected error.

    Raises:
        SystemExit: the job failed; its code is one of those in jobs/README.md.
    """
    # Without it, a call to Ray after its end, from some destructor, starts another one.
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
        except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  The last place that can explain it.
            _ignore_interrupts()
            message, code = explain(error, name, log)
            reporter.say(message)
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
    """SIGTERM, which `ray job stop` sends, ends a job as Ctrl-C does."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_interrupts() -> None:
    """Let a job end in order, which takes seconds, after a first Ctrl-C."""
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
