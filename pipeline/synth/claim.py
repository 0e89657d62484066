"""Specification of the dump in a directory, stored before its first file, so that two dumps never mix."""

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
"""Hidden, so that jobs whose input is the directory ignore it."""

_SETTINGS = {"form": "format"}
"""Keys of the file that differ from the names of their settings."""


def claim(output: Location, spec: DumpSpec) -> list[str]:
    """Reserve a directory for a dump, or resume the same dump; deletes temporary files of a killed process.

    Returns:
        Names of the deleted files of an earlier dump with unknown parameters.
    Raises:
        OutputError: the directory contains other files or another dump (the message lists the differences),
            or cannot be written to.
    """
    shards = {spec.shard_name(k) for k in range(spec.shards)}
    files = {f.name: f for f in output.list_files()}
    foreign = sorted(files.keys() - shards - {SPEC_FILE})
    differences = _differences(files[SPEC_FILE], spec) if SPEC_FILE in files else []
    if differences:
        raise OutputError(
            f"{output.uri}: contains another dump ({'; '.join(differences)}); choose an empty or new --output"
        )
    if foreign:
        raise OutputError(
            f"{output.uri}: contains {foreign[0]}, which is not part of this dump; choose an empty or new"
            " --output"
        )
    check_writable(output)
    unknown = [] if SPEC_FILE in files else sorted(files)
    for name in (*unknown, *_temporary_files(output)):
        _delete(output.child(name))
    output.child(SPEC_FILE).write_bytes((json.dumps(_facts(spec)) + "\n").encode())
    return unknown


def _facts(spec: DumpSpec) -> dict[str, Any]:
    facts = asdict(spec)
    # The key of earlier versions, whose dumps can be resumed.
    facts["form"] = facts.pop("fmt")
    return {"version": __version__, **facts}


def _differences(file: Location, spec: DumpSpec) -> list[str]:
    try:
        existing = json.loads(file.read_bytes())
    except ValueError:
        existing = None
    if not isinstance(existing, dict):
        return [f"{SPEC_FILE} is damaged"]
    return [
        f"{_SETTINGS.get(name, name)}: the existing dump has {existing.get(name)}, this one has {value}"
        for name, value in _facts(spec).items()
        if existing.get(name) != value
    ]


def _temporary_files(output: Location) -> list[str]:
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
