"""Redirection of the output of Ray and the libraries to a log file."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.errors import OutputError


def new_log(name: str) -> Path:
    """Create an empty log file for a job, in RAYVIEW_LOG_DIR or in the temporary directory.

    Raises:
        OutputError: the log file cannot be created.
    """
    folder = Path(os.environ.get("RAYVIEW_LOG_DIR") or Path(tempfile.gettempdir()) / f"rayview-{os.getuid()}")
    log = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log.touch(mode=0o600)
    except OSError as error:
        raise OutputError(
            f"{folder}: no log can be written ({error.strerror}); set RAYVIEW_LOG_DIR to another directory"
        ) from None
    return log


@contextmanager
def captured_output(log: Path) -> Iterator[tuple[TextIO, TextIO]]:
    """Redirect file descriptors 1 and 2 to the log; yields the real stdout and stderr. Deletes an empty log.

    The descriptors are redirected, because Ray's C++ code and subprocesses write to them directly.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    stdout, stderr = (os.fdopen(os.dup(fd), "w", encoding="utf-8", errors="replace") for fd in saved)
    target = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    try:
        yield stdout, stderr
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, fd in enumerate(saved, start=1):
            os.dup2(fd, number)
            os.close(fd)
        os.close(target)
        stdout.close()
        stderr.close()
        if not log.stat().st_size:
            log.unlink()
