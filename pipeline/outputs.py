"""Whose an output directory is, and how far: claimed before anything is written to it."""

from __future__ import annotations

from enum import Enum

from pipeline.errors import OutputError
from pipeline.manifest import MANIFEST_FILE, RUN_FILE, Run, read_run, to_json
from pipeline.storage import Location, check_writable


class State(Enum):
    """What `begin` found in an output directory."""

    FRESH = "fresh"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


def inspect_output(output: Location, run: Run) -> State:
    """What is in an output directory; changes nothing.

    Raises:
        OutputError: it holds something else: files that are not ours, or the output of a different run,
            the differences named.
    """
    if output.info().is_file:
        raise OutputError(f"{output.uri}: this is a file; choose a directory for --output")
    if not output.child(RUN_FILE).exists():
        if output.list_files():
            raise OutputError(
                f"{output.uri}: exists and was not written by rayview; choose an empty or new --output"
            )
        return State.FRESH
    there = read_run(output)
    differences = there.differences(run)
    if differences:
        shown = "; ".join(differences[:5]) + (
            f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        )
        raise OutputError(
            f"{output.uri}: exists and holds another run ({shown}); choose another --output, or --overwrite"
        )
    return State.FINISHED if output.child(MANIFEST_FILE).exists() else State.UNFINISHED


def check_output(output: Location, run: Run, *, overwrite: bool = False) -> None:
    """Raise OutputError if `begin` would find something else in the directory; changes nothing."""
    if overwrite and output.child(RUN_FILE).exists():
        read_run(output)
    else:
        inspect_output(output, run)


def begin(output: Location, run: Run, *, overwrite: bool = False) -> State:
    """Claim an output directory: write run.json unless the same run has begun there before.

    Args:
        overwrite: delete what an earlier rayview run left there, whatever run that was.
    Raises:
        OutputError: as `inspect_output`, or it cannot be written to.
    """
    if overwrite and output.child(RUN_FILE).exists():
        # Somebody else's run.json is no leave to delete.
        read_run(output)
        output.delete_tree()
    state = inspect_output(output, run)
    if state is State.FRESH:
        if output.is_local:
            # In a store the first write tells as much; a probe would leave a mark of a directory behind.
            check_writable(output)
        output.child(RUN_FILE).write_bytes(to_json(run.model_dump(mode="json")))
    return state
