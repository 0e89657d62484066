"""What dump a directory holds: fixed before its first file is written, so two dumps never mix in one."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pyarrow import fs as pafs

from pipeline import __version__
from pipeline.errors import OutputError
from pipeline.storage.explain import explain
from pipeline.storage.location import Location, check_writable
from pipeline.storage.objectstore import TEMPORARY_MARK
from pipeline.synth.shards import DumpSpec

SPEC_FILE = ".synth.json"
"""Hidden, so that a job that is given the directory does not take it for a dump."""


def claim(output: Location, spec: DumpSpec) -> list[str]:
    """See that a directory can take a dump, and fix which one it holds.

    What a process that was killed left half-written is deleted.

    Returns:
        Names of the files that were deleted: a dump's of which is not known what it was.
    Raises:
        OutputError: it holds something else or another dump, the differences named; or cannot be written to.
    """
    own = {spec.shard_name(k) for k in range(spec.shards)}
    there = {f.name: f for f in output.list_files()}
    others = sorted(there.keys() - own - {SPEC_FILE})
    differences = _differences(there[SPEC_FILE], spec) if SPEC_FILE in there else []
    if differences:
        raise OutputError(
            f"{output.uri}: holds another dump ({'; '.join(differences)}); choose an empty or new --output"
        )
    if others:
        raise OutputError(
            f"{output.uri}: holds {others[0]}, which is not of this dump; choose an empty or new --output"
        )
    check_writable(output)
    unknown = [] if SPEC_FILE in there else sorted(there)
    for name in (*unknown, *_half_written(output)):
        _delete(output.child(name))
    output.child(SPEC_FILE).write_bytes((json.dumps(_facts(spec)) + "\n").encode())
    return unknown


def _facts(spec: DumpSpec) -> dict[str, Any]:
    # Dumps of earlier versions have the key "form".
    facts = {"form" if name == "fmt" else name: value for name, value in asdict(spec).items()}
    return {"version": __version__, **facts}


def _differences(file: Location, spec: DumpSpec) -> list[str]:
    try:
        there = json.loads(file.read_bytes())
    except ValueError:
        there = None
    if not isinstance(there, dict):
        return [f"{SPEC_FILE} is damaged"]
    return [f"{n}={there.get(n)} there, {v} now" for n, v in _facts(spec).items() if there.get(n) != v]


def _half_written(output: Location) -> list[str]:
    try:
        infos = output.filesystem.get_file_info(pafs.FileSelector(output.path, allow_not_found=True))
    except OSError as error:
        raise OutputError(f"{output.uri}: cannot be listed: {explain(error)}") from None
    return sorted(i.base_name for i in infos if i.is_file and i.base_name.startswith(TEMPORARY_MARK))


def _delete(file: Location) -> None:
    try:
        file.filesystem.delete_file(file.path)
    except OSError as error:
        raise OutputError(f"{file.uri}: cannot be deleted: {explain(error)}") from None
