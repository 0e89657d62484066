"""How a failed job explains itself: one line and an exit code."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path

from pipeline import errors
from pipeline.errors import RayviewError
from pipeline.humanize import printable


def explain(error: BaseException, name: str, log: Path) -> tuple[str, int]:
    """The line that a failed job ends with, and its exit code.

    Of an error that is not one of errors.py, the traceback is appended to the log.
    """
    if isinstance(error, KeyboardInterrupt):
        lost = _lost_lease()
        if lost is None:
            return f"{name}: interrupted; {_how_to_resume()}", 1
        error = lost
    # Ray's error is also of the class that the worker raised, but its text is a traceback.
    known = raised_in_worker(error) or (error if isinstance(error, RayviewError) else None)
    if known is not None:
        return printable(f"error: {known}"), known.exit_code
    with log.open("a", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return printable(f"error: {name} failed: {_short(error)}; the log is {log}"), 1


def _lost_lease() -> RayviewError | None:
    """The reason of an interrupt that came from a lease: another job has taken over the output."""
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


def clear_frames(error: BaseException | None) -> None:
    """Release what the frames of an error and its causes hold: a running dataset must end before Ray does."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def raised_in_worker(error: BaseException) -> RayviewError | None:
    """The error of ours that a worker raised; Ray Data hands over nothing but its printed traceback."""
    for kind, text in reversed(re.findall(r"^pipeline\.errors\.(\w+): (.+)$", str(error), re.MULTILINE)):
        return getattr(errors, kind)(text)  # type: ignore[no-any-return]
    return None


def _short(error: BaseException) -> str:
    """Type and message of an error, at most 300 characters; of the one in a worker if Ray has wrapped it."""
    found = re.findall(r"^([\w.]*(?:Error|Exception|Killed)\w*): (.+)$", str(error), re.MULTILINE)
    inner = [f"{kind}: {text}" for kind, text in found if not kind.startswith("ray.")]
    lines = str(error).strip().splitlines() or [""]
    return (inner[-1] if inner else f"{type(error).__name__}: {lines[0]}")[:300]
