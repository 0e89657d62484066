"""Ownership and state of an output directory; claimed before anything is written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

from pydantic import JsonValue

from pipeline.errors import OutputError
from pipeline.rundir.declaration import Declaration
from pipeline.rundir.lease import LEASE_FILE, Lease, is_shared
from pipeline.rundir.manifest import (
    MANIFEST_FILE,
    RUN_FILE,
    Manifest,
    Run,
    find_incomplete,
    read_common_manifest,
    read_run,
    to_json,
    write_manifest,
)
from pipeline.storage.location import CONCURRENT_FILES, Location, check_writable
from pipeline.storage.objectstore import TEMPORARY_MARK

_MAX_DIFFERENCES = 5
"""Maximum number of differences between two runs that a message lists."""

_held: dict[str, int] = {}
"""Open handles of the local directories that this process has locked, by path."""

_leases: dict[str, Lease] = {}
"""Leases that this process holds in object stores and on network filesystems, by URI."""


class State(Enum):
    """State of an output directory for a run."""

    FRESH = "fresh"
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    EXTENDED = "finished, inputs will be added"


def check_apart(output: Location, inputs: Iterable[Location]) -> None:
    """Raise OutputError if an input of a stage is its output directory, or is inside it."""
    for place in inputs:
        if output.contains(place):
            raise OutputError(
                f"{output.uri}: input {place.uri} is inside the output directory; choose another --output"
            )


def inspect_output(output: Location, run: Run, *, extend: bool = False) -> State:
    """State of an output directory; changes nothing.

    Args:
        extend: whether the run may have more inputs than the existing one.
    Raises:
        OutputError: the directory holds other files or the output of a different run (the message lists the
            differences), or is finished but incomplete.
    """
    if output.info().is_file:
        raise OutputError(f"{output.uri}: this is a file; choose a directory for --output")
    if not output.child(RUN_FILE).exists():
        if output.list_files():
            raise OutputError(
                f"{output.uri}: exists and was not written by rayview; choose an empty or new --output"
            )
        return State.FRESH
    existing = _read_own_run(output, run)
    common = existing.common_with(run) if extend else run
    differences = existing.differences(common)
    if differences:
        more = len(differences) - _MAX_DIFFERENCES
        shown = "; ".join(differences[:_MAX_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
        raise OutputError(
            f"{output.uri}: holds another run ({shown}); choose another --output, or use --overwrite"
        )
    finished = output.child(MANIFEST_FILE).exists()
    if finished:
        manifest = read_common_manifest(output, run.stage)
        # They differ if a job was killed while it added inputs.
        finished = manifest.inputs == existing.inputs
    if len(common.inputs) < len(run.inputs):
        if not finished:
            raise OutputError(
                f"{output.uri}: --extend needs a finished output; first rerun the command without the new"
                " inputs"
            )
        return State.EXTENDED
    if not finished:
        return State.UNFINISHED
    fault = find_incomplete(output, manifest.outputs)
    if fault:
        raise OutputError(f"{output.uri}: finished, but {fault}; use --overwrite to rebuild it")
    return State.FINISHED


def check_output(output: Location, run: Run, *, overwrite: bool = False, extend: bool = False) -> State:
    """State that `begin` would return; changes nothing.

    Raises:
        OutputError: as for `inspect_output`; or the stage would have to delete files that it did not write;
            or another job is writing to the directory.
    """
    if overwrite and output.child(RUN_FILE).exists():
        state = State.UNFINISHED
    else:
        state = inspect_output(output, run, extend=extend)
    if state is State.FINISHED:
        return state
    handle = _lock(output)
    if handle is not None:
        os.close(handle)
    if state is State.UNFINISHED:
        declaration = _declaration_of(run).common_with(_read_own_run(output, run).declaration)
        if overwrite or not declaration.resumes:
            _check_deletable(output, run.stage, declaration)
            return State.FRESH
    return state


def _read_own_run(output: Location, run: Run) -> Run:
    """The existing run.json; raises OutputError if it belongs to another stage."""
    existing = read_run(output)
    if existing.stage != run.stage:
        raise OutputError(
            f"{output.uri}: holds the output of jobs.{existing.stage}, not of jobs.{run.stage}; choose"
            " another --output, or delete that directory"
        )
    return existing


def _declaration_of(run: Run) -> Declaration:
    """Declaration of the stage of a run; a run without a declaration may not delete anything."""
    return run.declaration or Declaration()


def _check_deletable(output: Location, stage: str, declaration: Declaration) -> None:
    """Raise OutputError if the directory contains a file that its run did not write."""
    for name in sorted(output.sizes()):
        if not _is_always_ours(name) and not declaration.includes(name):
            raise OutputError(
                f"{output.uri}: not overwritten, because it contains {name}, which jobs.{stage} did not"
                " write; move that file away, or choose another --output"
            )


def _is_always_ours(name: str) -> bool:
    return name in (RUN_FILE, MANIFEST_FILE) or TEMPORARY_MARK in name


def begin(output: Location, run: Run, *, overwrite: bool = False, extend: bool = False) -> State:
    """Claim an output directory for a run and write run.json, unless it already belongs to the same run.

    Files of an interrupted run are deleted if its stage does not resume.

    Args:
        overwrite: delete the files of an earlier run of the same stage with any inputs and settings.
        extend: add inputs to a finished run that is otherwise the same.
    Returns:
        Previous state of the directory, or FRESH if files were deleted.
    Raises:
        OutputError: as for `check_output`, or the directory is not writable.
    """
    if output.is_local:
        # Not in a store: a test write would leave a directory marker, and the first real write fails, too.
        if check_output(output, run, overwrite=overwrite, extend=extend) is State.FINISHED:
            return State.FINISHED
        check_writable(output)
        _hold(output)
        if is_shared(output.path) and output.uri not in _leases:
            _leases[output.uri] = Lease.take(output)
    elif output.uri not in _leases:
        if check_output(output, run, overwrite=overwrite, extend=extend) is State.FINISHED:
            return State.FINISHED
        _leases[output.uri] = Lease.take(output)
    state = check_output(output, run, overwrite=overwrite, extend=extend)
    if state is State.FRESH:
        clear(output, run)
        _write_run(output, run)
    elif state is State.EXTENDED:
        # In this order, a job killed in between leaves an unfinished directory with the new inputs.
        resolved = _merged(run.resolved, read_run(output).resolved)
        _write_run(output, run.model_copy(update={"resolved": resolved}))
        output.child(MANIFEST_FILE).delete_file()
    elif state is State.UNFINISHED:
        _update_declaration(output, run)
    return state


def _merged(new: dict[str, JsonValue], existing: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Resolved values of an extended run: the existing ones, and those of its new files."""
    merged = {**new, **existing}
    for name, value in new.items():
        old = existing.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[name] = {**value, **old}
    return merged


def _update_declaration(output: Location, run: Run) -> None:
    """Store the declaration of this version if that of another version is stored."""
    existing = read_run(output)
    if existing.declaration not in (None, run.declaration):
        _write_run(output, existing.model_copy(update={"declaration": run.declaration}))


def check_leases() -> None:
    """Raise OutputError if another job has taken over a directory whose lease this process held."""
    for uri, lease in _leases.items():
        if lease.is_lost:
            raise OutputError(
                f"{uri}: this job's lease expired (no heartbeat reached the storage), and another job took"
                " over"
            )


def release_outputs() -> None:
    """Release the leases of this process, so that other jobs can write to the directories immediately."""
    while _leases:
        _leases.popitem()[1].release()


def _write_run(output: Location, run: Run) -> None:
    output.child(RUN_FILE).write_bytes(to_json(run.model_dump(mode="json")))


def _hold(output: Location) -> None:
    """Lock a local directory against other jobs for the lifetime of this process."""
    handle = _lock(output)
    if handle is not None:
        if output.path in _held:
            os.close(_held.pop(output.path))
        _held[output.path] = handle


def _lock(output: Location) -> int | None:
    """Handle that holds the lock of a local directory; None if already held or not supported.

    Raises:
        OutputError: another process holds it.
    """
    if not output.is_local or not output.exists():
        return None
    held = _held.get(output.path)
    if held is not None and os.path.samestat(os.fstat(held), os.stat(output.path)):  # noqa: PTH116
        return None
    handle = os.open(output.path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise OutputError(
                f"{output.uri}: another job is writing to this directory; wait until it ends, or choose"
                " another --output"
            ) from None
        # Some network filesystems cannot lock a directory.
        return None
    return handle


def finish(output: Location, run: Run, manifest: Manifest) -> None:
    """Write the manifest of a run whose output is complete, and release the directory.

    First delete temporary and provisional files that the manifest does not list, which killed writers left.

    Raises:
        OutputError: the manifest cannot be written, a file cannot be deleted, or another job took over.
    """
    check_leases()
    declaration = _declaration_of(run)
    listed = {o.path for o in manifest.outputs} | {LEASE_FILE}
    for name in sorted(output.sizes().keys() - listed):
        file = output.child(name)
        # A writer that was presumed dead may have renamed its file in the meantime.
        if (TEMPORARY_MARK in name or declaration.is_provisional(name)) and file.exists():
            file.delete_file()
    write_manifest(output, manifest)
    lease = _leases.pop(output.uri, None)
    if lease is not None:
        lease.release()


def clear(output: Location, run: Run) -> None:
    """Delete the files of an earlier run from a directory that `check_output` accepted.

    The manifest is deleted first and run.json last, so a job killed at any point leaves an unfinished
    directory.
    """
    first = (MANIFEST_FILE, *_declaration_of(run).first)
    names = output.sizes().keys() - {LEASE_FILE}
    for name in first:
        if name in names:
            output.child(name).delete_file()
    # A store deletes a folder in a few requests.
    for folder in sorted({name.partition("/")[0] for name in names if "/" in name}):
        output.child(folder).delete_tree()
    files = [output.child(n) for n in names if "/" not in n and n not in (*first, RUN_FILE)]
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        list(pool.map(Location.delete_file, files))
    if RUN_FILE in names:
        output.child(RUN_FILE).delete_file()
