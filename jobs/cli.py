"""What all jobs share: options, messages, exit codes, and keeping Ray's noise out of the terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from pipeline import errors
from pipeline.errors import RayviewError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.progress import Reporter
    from pipeline.runtime.pools import Cluster

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Files, globs, directories or URIs (s3://, gs://, file://)."),
]
Output = Annotated[str, typer.Option(metavar="DIR", help="Where the output goes; an empty or new directory.")]
ConfigFile = Annotated[
    str | None, typer.Option("--config", metavar="FILE.toml", help="Settings to start from.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change a setting, or several separated by commas; repeatable, the last value wins.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Stop at the first line with an error, or file that breaks off."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Delete what an earlier run of rayview left in DIR.")
]


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
            self._cluster = connect(config.cluster)
            # Ray has put a handler of its own there, which exits with the signal's number.
            signal.signal(signal.SIGTERM, _interrupt)
            self.reporter.say(f"Ray: {self._cluster}")
        return self._cluster


@contextmanager
def session(name: str) -> Iterator[Session]:
    """Run a job's body: errors become one line and an exit code, Ray is left as it was found.

    All that libraries and Ray print goes to a log file, which is named when something goes wrong.

    Raises:
        SystemExit: always, with the exit code of architecture.md, unless that is 0.
    """
    # Else a call of Ray after its end, from some destructor, starts another.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    log = _open_log(name)
    joined_before = _has_ray()
    with _captured_output(log) as (stdout, stderr), _terminable():
        code = 0
        reporter = _reporter(stderr)
        try:
            yield Session(reporter, stdout)
        except KeyboardInterrupt as interrupt:
            code = _explain_interrupt(name, log, reporter.say)
            let_go(interrupt)
        except Exception as error:  # noqa: BLE001  The last place where anything can be said.
            code = _explain(error, name, log, reporter.say)
            let_go(error)
        finally:
            if not joined_before:
                _leave_ray()
            _release_outputs()
    if code:
        raise SystemExit(code)


def _explain_interrupt(name: str, log: Path, say: Callable[[str], None]) -> int:
    """Say how to go on, or who has interrupted; returns the exit code."""
    try:
        outputs: Any = sys.modules.get("pipeline.rundir.claim")
        if outputs is not None:
            outputs.check_leases()
    except RayviewError as error:
        return _explain(error, name, log, say)
    afresh = "without --overwrite to go on" if "--overwrite" in sys.argv else "to go on or start afresh"
    say(f"{name}: interrupted; give the same command again {afresh}")
    return 1


def _explain(error: Exception, name: str, log: Path, say: Callable[[str], None]) -> int:
    """Say what went wrong; returns the exit code."""
    # Ray's error is also of the class that the worker raised, but its text is a traceback.
    known = raised_in_worker(error) or (error if isinstance(error, RayviewError) else None)
    if known is not None:
        say(f"error: {known}")
        return known.exit_code
    with log.open("a", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    say(f"error: {name} failed: {_short(error)}; the log is {log}")
    return 1


def let_go(error: BaseException | None) -> None:
    """Let go of what an error's frames hold: a dataset at work must end before Ray does."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def raised_in_worker(error: Exception) -> RayviewError | None:
    """The error of ours that a worker raised; Ray Data hands over nothing but its printed traceback."""
    for kind, text in reversed(re.findall(r"^pipeline\.errors\.(\w+): (.+)$", str(error), re.MULTILINE)):
        return getattr(errors, kind)(text)  # type: ignore[no-any-return]
    return None


def _short(error: Exception) -> str:
    """Type and message of an error; of the one in a worker, where Ray has wrapped it."""
    found = re.findall(r"^([\w.]*(?:Error|Exception|Killed)\w*): (.+)$", str(error), re.MULTILINE)
    inner = [f"{kind}: {text}" for kind, text in found if not kind.startswith("ray.")]
    lines = str(error).strip().splitlines() or [""]
    return (inner[-1] if inner else f"{type(error).__name__}: {lines[0]}")[:300]


def _open_log(name: str) -> Path:
    folder = Path(os.environ.get("RAYVIEW_LOG_DIR") or Path(tempfile.gettempdir()) / f"rayview-{os.getuid()}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{os.getpid()}.log"


@contextmanager
def _captured_output(log: Path) -> Iterator[tuple[TextIO, TextIO]]:
    """Send file descriptors 1 and 2 to the log; yields the real stdout and stderr.

    Redirected below Python, because Ray's C++ and its subprocesses write to the descriptors themselves.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    streams = tuple(os.fdopen(os.dup(fd), "w", encoding="utf-8", errors="replace") for fd in kept)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    try:
        yield streams[0], streams[1]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, fd in enumerate(kept, start=1):
            os.dup2(fd, number)
            os.close(fd)
        os.close(target)
        for stream in streams:
            stream.close()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM, which `ray job stop` sends, ends a job as Ctrl-C does."""

    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _reporter(stream: TextIO) -> Reporter:
    from rich.console import Console

    from pipeline.progress import Reporter

    return Reporter(Console(file=stream))


def _has_ray() -> bool:
    """Whether this process is connected to Ray."""
    ray: Any = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _leave_ray() -> None:
    if _has_ray():
        sys.modules["ray"].shutdown()


def _release_outputs() -> None:
    outputs: Any = sys.modules.get("pipeline.rundir.claim")
    if outputs is not None:
        outputs.release_outputs()


def run(main: Callable[..., None]) -> None:
    """Run a job's main function as a command line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
