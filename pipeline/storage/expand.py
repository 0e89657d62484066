"""The files that paths, patterns, directories and URIs mean."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable

from pyarrow import fs as pafs

from pipeline.errors import InputError
from pipeline.storage.location import Location, locate

_INPUT_SUFFIXES = re.compile(r"\.(json|jsonl|ndjson|csv|tsv|parquet)(\.(gz|zst|bz2))?$", re.IGNORECASE)


def expand_inputs(inputs: Iterable[str], outputs: Collection[Location] = ()) -> list[Location]:
    """The files meant by paths, globs, directories and URIs: each once, in the order given.

    A directory means the files in it, at any depth, with the ending of a dump (.json.gz, .csv …);
    hidden files are left out.

    Args:
        outputs: directories that the job writes; what a directory or a glob finds in them is left out.
    Raises:
        InputError: one of them matches no file, or holds none; or a file's name is no UTF-8.
    """
    found: dict[str, Location] = {}
    for text in inputs:
        for file in _expand(text, outputs):
            _check_name(file)
            found.setdefault(file.uri, file)
    return list(found.values())


def _expand(text: str, outputs: Collection[Location]) -> list[Location]:
    here = locate(text)
    _check_name(here)
    kind = here.info().type
    if kind == pafs.FileType.File:
        return [here]
    if kind != pafs.FileType.NotFound:
        files = [f for f in here.list_files() if _looks_like_dump(here.relative(f))]
        none = "this directory holds no dump (.json .jsonl .csv .tsv .parquet, plain or .gz .zst .bz2)"
    elif any(c in here.path for c in "*?["):
        files = _glob(here)
        none = "no file matches this pattern"
    else:
        raise InputError(f"{text}: no such file or directory")
    # What is asked for in an output itself is found; the stage refuses it.
    below = [o for o in outputs if not o.holds(here)]
    apart = [f for f in files if not any(o.holds(f) for o in below)]
    if not apart:
        raise InputError(f"{text}: {none}" + (", other than those of --output" if files else ""))
    return apart


def _check_name(file: Location) -> None:
    try:
        file.path.encode()
    except UnicodeEncodeError:
        shown = file.uri.encode(errors="replace").decode()
        raise InputError(f"{shown}: this name is no UTF-8; give the file another") from None


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
    """Whether the parts of a path fit a pattern, as in a shell.

    A single * stays within one directory, ** stands for any directories, a hidden name must be asked for.
    """
    if not path or not pattern:
        return path == pattern or pattern == ["**"]
    hidden = path[0].startswith(".")
    if pattern[0] == "**":
        return _matches(path, pattern[1:]) or (not hidden and _matches(path[1:], pattern))
    if hidden and not pattern[0].startswith("."):
        return False
    return fnmatch.fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
