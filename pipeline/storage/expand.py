"""Expansion of paths, globs, directories and URIs to files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable

from pyarrow import fs as pafs

from pipeline.errors import InputError
from pipeline.storage.location import Location, locate

_INPUT_SUFFIXES = re.compile(r"\.(json|jsonl|ndjson|csv|tsv|parquet)(\.(gz|zst|bz2))?$", re.IGNORECASE)


def expand_inputs(inputs: Iterable[str], outputs: Collection[Location] = ()) -> list[Location]:
    """Files matched by paths, globs, directories and URIs: each once, in the order given.

    A directory expands to the files below it, at any depth, that have the suffix of a dump (.json.gz, .csv
    …), except hidden ones.

    Args:
        outputs: directories that the job writes; directories and globs do not expand to files in them.
    Raises:
        InputError: an input matches no file, or a file name is not valid UTF-8.
    """
    files: dict[str, Location] = {}
    for text in inputs:
        for file in _expand(text, outputs):
            _check_name(file)
            files.setdefault(file.uri, file)
    return list(files.values())


def _expand(text: str, outputs: Collection[Location]) -> list[Location]:
    location = locate(text)
    _check_name(location)
    kind = location.info().type
    if kind == pafs.FileType.File:
        return [location]
    if kind != pafs.FileType.NotFound:
        matches = [f for f in location.list_files() if _looks_like_dump(location.relative(f))]
        reason = "no dump in this directory (.json .jsonl .csv .tsv .parquet, plain or .gz .zst .bz2)"
    elif any(c in location.path for c in "*?["):
        matches = _glob(location)
        reason = "no file matches this pattern"
    else:
        raise InputError(f"{text}: no such file or directory")
    # An input that is itself inside an output still expands, so that the stage can reject it.
    excluded = [o for o in outputs if not o.contains(location)]
    files = [f for f in matches if not any(o.contains(f) for o in excluded)]
    if not files:
        raise InputError(f"{text}: {reason}" + (", except inside --output" if matches else ""))
    return files


def _check_name(file: Location) -> None:
    try:
        file.path.encode()
    except UnicodeEncodeError:
        shown = file.uri.encode(errors="replace").decode()
        raise InputError(f"{shown}: the file name is not valid UTF-8; rename the file") from None


def _looks_like_dump(name: str) -> bool:
    hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    return not hidden and bool(_INPUT_SUFFIXES.search(name))


def _glob(pattern: Location) -> list[Location]:
    first = min(pattern.path.find(c) for c in "*?[" if c in pattern.path)
    root = pattern
    for _ in range(pattern.path[first:].count("/") + 1):
        root = root.parent
    return [f for f in root.list_files() if _matches(f.path.split("/"), pattern.path.split("/"))]


def _matches(path: list[str], pattern: list[str]) -> bool:
    """Whether the parts of a path match a glob pattern, with the rules of a shell.

    `*` matches within one path part, `**` matches any number of parts, and neither matches a hidden name.
    """
    if not path or not pattern:
        return path == pattern or pattern == ["**"]
    hidden = path[0].startswith(".")
    if pattern[0] == "**":
        return _matches(path, pattern[1:]) or (not hidden and _matches(path[1:], pattern))
    if hidden and not pattern[0].startswith("."):
        return False
    return fnmatch.fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
