"""Explanation of a failed job: one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from pipeline.errors import MissingColumnError, RayviewError, ScaleError, UnknownColumnsError
from pipeline.humanize import printable
from pipeline.runtime.worker_errors import summarize

_MAX_SUMMARY_CHARS = 300
_COLUMN_ERRORS = (UnknownColumnsError, MissingColumnError, ScaleError)
_PEEK = "; python -m jobs.peek shows what a file contains and proposes settings"


def explain(error: BaseException, name: str, log: Path) -> tuple[str, int]:
    """Last line of a failed job, and its exit code.

    The traceback of an error that is not one of errors.py is appended to the log.
    """
    if _is_interrupt(error):
        lost = _lost_lease()
        if lost is None:
            return f"{name}: interrupted; {_how_to_resume()}", 1
        error = lost
    if isinstance(error, RayviewError):
        hint = _PEEK if isinstance(error, _COLUMN_ERRORS) and name != "peek" else ""
        return printable(f"error: {error}{hint}"), error.exit_code
    with log.open("a", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    summary = summarize(error)[:_MAX_SUMMARY_CHARS]
    return printable(f"error: {name} failed: {summary}; the log is {log}"), 1


def _is_interrupt(error: BaseException) -> bool:
    """Whether a job was interrupted; the interrupt may have led to another error, as in a lock."""
    if isinstance(error, RayviewError):
        return False
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt):
        found = found.__context__
    return found is not None


def _lost_lease() -> RayviewError | None:
    """Reason for an interrupt from a lease: another job has taken over the output."""
    if "pipeline.rundir.claim" not in sys.modules:
        return None
    from pipeline.rundir.claim import check_leases

    try:
        check_leases()
    except RayviewError as error:
        return error
    return None


def _how_to_resume() -> str:
    if "--overwrite" in sys.argv:
        return "rerun the command without --overwrite to resume"
    return "rerun the same command to resume"
