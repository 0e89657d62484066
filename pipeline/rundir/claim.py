"""Whose an output directory is, and how far: claimed before anything is written to it."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

from pipeline.errors import OutputError
from pipeline.rundir.lease import LEASE_FILE, Lease, is_shared
from pipeline.rundir.manifest import (
    MANIFEST_FILE,
    RUN_FILE,
    Manifest,
    Run,
    lacking,
    read_common_manifest,
    read_run,
    to_json,
    write_manifest,
)
from pipeline.storage.location import CONCURRENT_FILES, Location, check_writable
from pipeline.storage.objectstore import TEMPORARY_MARK

_WRITES = {
    "prepare": r"(train|val|test|encoded|removed)/part-[\d-]+\.parquet|removed/range-\d+\.parquet"
    r"|rejects/(part|duplicates)-[\d-]+\.parquet"
    r"|card[\w-]*\.(md|png|json|html)",
    # What a tokenizer is saved as depends on its kind.
    "train": r"checkpoints/.+|model\.safetensors|(config|rayview)\.json|tokenizer[\w.-]*|spiece\.model"
    r"|(special_tokens_map|added_tokens|normalizer|emoji|[\w-]*vocab[\w-]*|word_\w+|byte_maps)\.json"
    r"|(vocab|merges|dict)\.txt|bpe\.codes|\w*\.spm|(sentencepiece[\w.]*|\w*spm\w*)\.model|\w+\.tokenizer"
    r"|chat_template\.jinja|additional_chat_templates/[\w.-]+\.jinja",
    "score": r"((rejects/)?part|rejects/failed)-[\d-]+\.parquet",
    "evaluate": r"metrics\.json|(roc|confusion)\.png|report\.html",
}
"""What each stage writes beside run.json and manifest.json: all that may be deleted of its output."""

_GO_ON = ("train", "score")
"""Stages that go on from what an interrupted job of theirs left; the others begin again."""

_FIRST = (MANIFEST_FILE, "checkpoints/checkpoint_manager_snapshot.json")
"""Files that say of others that they are whole: deleted before those."""

_held: dict[str, int] = {}
"""Open handles of the local directories that this process has locked, by path."""

_leases: dict[str, Lease] = {}
"""What it holds in object stores and on network filesystems, by URI."""


class State(Enum):
    """What `begin` found in an output directory."""

    FRESH = "fresh"
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    EXTENDED = "finished, with more inputs now"


def check_apart(output: Location, reads: Iterable[Location]) -> None:
    """Raise OutputError if something that a stage reads is its output directory, or lies in it."""
    for place in reads:
        if output.contains(place):
            raise OutputError(
                f"{output.uri}: {place.uri}, which is read, lies in this output directory; choose another"
                " --output"
            )


def inspect_output(output: Location, run: Run, *, extend: bool = False) -> State:
    """What is in an output directory; changes nothing.

    Args:
        extend: whether the run may have more inputs than the one that is there.
    Raises:
        OutputError: it holds something else: files that are not ours, or the output of a different run,
            the differences named; or it is finished, but something of it is gone or changed.
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
    now = there.common_with(run) if extend else run
    differences = there.differences(now)
    if differences:
        shown = "; ".join(differences[:5]) + (
            f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        )
        raise OutputError(
            f"{output.uri}: exists and holds another run ({shown}); choose another --output, or --overwrite"
        )
    finished = output.child(MANIFEST_FILE).exists()
    if finished:
        manifest = read_common_manifest(output, run.stage)
        # Else it was broken off just when inputs were added.
        finished = manifest.inputs == there.inputs
    if len(now.inputs) < len(run.inputs):
        if not finished:
            raise OutputError(
                f"{output.uri}: inputs can be added to what is finished only; give the command without the"
                " new ones first"
            )
        return State.EXTENDED
    if not finished:
        return State.UNFINISHED
    lack = lacking(output, manifest.outputs)
    if lack:
        raise OutputError(f"{output.uri}: was finished, but {lack}; give --overwrite to write it anew")
    return State.FINISHED


def check_output(output: Location, run: Run, *, overwrite: bool = False, extend: bool = False) -> State:
    """What `begin` would return; changes nothing.

    Raises:
        OutputError: as `inspect_output`; what had to be deleted holds files that are not ours; or another
            job is at work there.
    """
    if overwrite and output.child(RUN_FILE).exists():
        state = State.UNFINISHED
    else:
        state = inspect_output(output, run, extend=extend)
        overwrite = run.stage not in _GO_ON
    if state is State.FINISHED:
        return state
    handle = _lock(output)
    if handle is not None:
        os.close(handle)
    if state is State.UNFINISHED and overwrite:
        _check_ours(output)
        return State.FRESH
    return state


def _check_ours(output: Location) -> None:
    """Raise OutputError if the directory of a run holds a file that its stage does not write."""
    stage = read_run(output).stage
    for name in sorted(output.sizes()):
        if not _is_ours(name, stage):
            raise OutputError(
                f"{output.uri}: would be written anew, but holds {name}, which is not of jobs.{stage}; move"
                " that away, or choose another --output"
            )


def _is_ours(name: str, stage: str) -> bool:
    own = name in (RUN_FILE, MANIFEST_FILE) or TEMPORARY_MARK in name
    return own or re.fullmatch(_WRITES[stage], name) is not None


def begin(output: Location, run: Run, *, overwrite: bool = False, extend: bool = False) -> State:
    """Claim an output directory: write run.json unless the same run has begun there before.

    What an interrupted job left is deleted where its stage cannot go on from it.

    Args:
        overwrite: delete what an earlier rayview run left there, whatever run that was.
        extend: add inputs to a run that is finished there, if the rest of it is the same.
    Returns:
        FRESH also where something was deleted.
    Raises:
        OutputError: as `check_output`, or it cannot be written to.
    """
    if output.is_local:
        # In a store the first write tells as much; a probe would leave a mark of a directory behind.
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
        clear(output)
        _write_run(output, run)
    if state is State.EXTENDED:
        # In this order: what is broken off in between counts as unfinished, and has its new inputs.
        _write_run(output, run.model_copy(update={"resolved": read_run(output).resolved}))
        output.child(MANIFEST_FILE).delete_file()
    return state


def check_leases() -> None:
    """Raise OutputError if another job has taken over a directory that this one held a lease of."""
    for uri, lease in _leases.items():
        if lease.is_lost:
            raise OutputError(
                f"{uri}: another job is writing there; it took this one for dead, which had not reached the"
                " storage for a while"
            )


def release_outputs() -> None:
    """Let other jobs write to the directories that this process holds a lease of."""
    while _leases:
        _leases.popitem()[1].release()


def _write_run(output: Location, run: Run) -> None:
    output.child(RUN_FILE).write_bytes(to_json(run.model_dump(mode="json")))


def _hold(output: Location) -> None:
    """Keep other jobs out of a local directory for as long as this process lives, and no longer."""
    handle = _lock(output)
    if handle is not None:
        if output.path in _held:
            os.close(_held.pop(output.path))
        _held[output.path] = handle


def _lock(output: Location) -> int | None:
    """A handle that holds the lock of a local directory; None where it is ours already or cannot be had.

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
                f"{output.uri}: another job is writing there; wait for its end, or choose another --output"
            ) from None
        # Not every network filesystem can lock a directory.
        return None
    return handle


def finish(output: Location, manifest: Manifest) -> None:
    """Write the manifest of a job whose output is whole, and let others write there.

    Of writers that were killed there may be files that were not whole yet, and rejected lines of a chunk that
    another attempt has scored: these are deleted first.

    Raises:
        OutputError: it cannot be written, or something cannot be deleted; or another job has taken over.
    """
    check_leases()
    written = {o.path for o in manifest.outputs} | {LEASE_FILE}
    for name in sorted(output.sizes().keys() - written):
        left = output.child(name)
        # Its writer may live after all, and have renamed it.
        is_leftover = TEMPORARY_MARK in name or name.startswith("rejects/")
        if is_leftover and _is_ours(name, manifest.stage) and left.exists():
            left.delete_file()
    write_manifest(output, manifest)
    lease = _leases.pop(output.uri, None)
    if lease is not None:
        lease.release()


def clear(output: Location) -> None:
    """Delete what a run left in a directory that `check_output` has passed.

    The manifest goes first and run.json last: broken off at any point, it leaves an unfinished directory.
    """
    names = output.sizes().keys() - {LEASE_FILE}
    for name in _FIRST:
        if name in names:
            output.child(name).delete_file()
    # A store deletes a folder in a few requests.
    for folder in sorted({name.partition("/")[0] for name in names if "/" in name}):
        output.child(folder).delete_tree()
    files = [output.child(n) for n in names if "/" not in n and n not in (*_FIRST, RUN_FILE)]
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        list(pool.map(Location.delete_file, files))
    if RUN_FILE in names:
        output.child(RUN_FILE).delete_file()
