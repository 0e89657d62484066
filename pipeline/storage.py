"""Local paths and object stores alike: find inputs, read, write in one piece.

A `Location` is a pyarrow filesystem and a path in it. Everything that a stage writes goes through
`Location.write_bytes`, which never leaves a half-written file under its final name.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs as pafs

from pipeline.errors import InputError, OutputError

TEMPORARY_MARK = ".rayview-tmp-"
"""Part of the name of a file that is being written; such a file is never read."""

_SAMPLE_BYTES = 1 << 20
_INPUT_SUFFIXES = re.compile(r"\.(json|jsonl|ndjson|csv|tsv|parquet)(\.(gz|zst|bz2))?$", re.IGNORECASE)


@dataclass(frozen=True)
class Location:
    """A file or directory, local or in an object store."""

    filesystem: Any
    path: str
    uri: str
    """What is shown and stored: an absolute path, or a URI with its scheme."""

    @property
    def is_local(self) -> bool:
        """Whether this is a path of this machine."""
        return "://" not in self.uri

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def child(self, name: str) -> Location:
        """The location `name` (may hold slashes) below this one."""
        return Location(self.filesystem, f"{self.path.rstrip('/')}/{name}", f"{self.uri.rstrip('/')}/{name}")

    @property
    def parent(self) -> Location:
        """The directory that this is in."""
        return Location(self.filesystem, self.path.rpartition("/")[0], self.uri.rpartition("/")[0])

    def info(self) -> Any:
        """pyarrow `FileInfo`: type, size in bytes, modification time.

        Raises:
            InputError: the storage cannot be asked.
        """
        try:
            return self.filesystem.get_file_info(self.path)
        except OSError as error:
            raise InputError(f"{self.uri}: cannot be looked up: {_short(error)}") from None

    def exists(self) -> bool:
        """Whether a file or a directory is here."""
        return bool(self.info().type != pafs.FileType.NotFound)

    def list_files(self, *, recursive: bool = True) -> list[Location]:
        """The files below this directory in order of name, unfinished temporaries left out.

        Raises:
            InputError: it is no directory, or cannot be read.
        """
        selector = pafs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
        base = self.path.rstrip("/")
        try:
            infos = self.filesystem.get_file_info(selector)
        except OSError as error:
            raise InputError(f"{self.uri}: cannot be listed: {_short(error)}") from None
        names = sorted(i.path[len(base) + 1 :] for i in infos if i.type == pafs.FileType.File)
        return [self.child(name) for name in names if TEMPORARY_MARK not in name]

    def open_input(self) -> Any:
        """A pyarrow random-access file of the raw bytes.

        Raises:
            InputError: it is missing or cannot be read.
        """
        try:
            return self.filesystem.open_input_file(self.path)
        except OSError as error:
            raise InputError(f"{self.uri}: cannot be read: {_short(error)}") from None

    def read_bytes(self) -> bytes:
        """The whole content; InputError as `open_input`."""
        with self.open_input() as file:
            return bytes(file.read())

    def write_bytes(self, data: bytes | memoryview) -> None:
        """Write a whole file in one piece: under its name there is the old content or all of the new.

        Local: a temporary name, flushed to disk, then renamed. Object store: one upload, visible at its end.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            if self.is_local:
                _write_local(Path(self.path), data)
            else:
                with self.filesystem.open_output_stream(self.path) as file:
                    file.write(data)
        except OSError as error:
            raise OutputError(f"{self.uri}: cannot be written: {_short(error)}") from None

    def delete_tree(self) -> None:
        """Delete this directory and all below it; nothing happens where there is none."""
        if self.info().type == pafs.FileType.Directory:
            self.filesystem.delete_dir(self.path)

    def upload_tree(self, directory: Path) -> None:
        """Copy the files of a local directory to this one, each in one piece."""
        for file in sorted(p for p in directory.rglob("*") if p.is_file()):
            self.child(file.relative_to(directory).as_posix()).write_bytes(file.read_bytes())


def locate(path_or_uri: str | os.PathLike[str]) -> Location:
    """Make a location of a local path or of a URI (s3://, gs://, file://).

    Raises:
        InputError: the scheme is not known.
    """
    text = os.fspath(path_or_uri)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" not in text:
        path = str(Path(text).expanduser().absolute())
        path = os.path.normpath(path)
        return Location(pafs.LocalFileSystem(), path, path)
    try:
        filesystem, path = pafs.FileSystem.from_uri(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{text}: not a location that can be opened: {_short(error)}") from None
    return Location(filesystem, path.rstrip("/"), text.rstrip("/"))


def expand_inputs(inputs: Iterable[str]) -> list[Location]:
    """The files meant by paths, globs, directories and URIs: each once, in the order given.

    A directory means the files in it, at any depth, with the ending of a dump (.json.gz, .csv …);
    hidden files are left out.

    Raises:
        InputError: one of them matches no file, or holds none.
    """
    found: dict[str, Location] = {}
    for text in inputs:
        for file in _expand(text):
            found.setdefault(file.uri, file)
    return list(found.values())


def _expand(text: str) -> list[Location]:
    here = locate(text)
    if here.is_local and not here.exists() and any(c in text for c in "*?["):
        return _glob(here, text)
    if not here.is_local and any(c in here.path for c in "*?["):
        return _glob(here, text)
    kind = here.info().type
    if kind == pafs.FileType.NotFound:
        raise InputError(f"{text}: no such file or directory")
    if kind == pafs.FileType.File:
        return [here]
    files = [f for f in here.list_files() if _looks_like_dump(f.uri[len(here.uri) + 1 :])]
    if not files:
        raise InputError(
            f"{text}: this directory holds no dump (.json .jsonl .csv .tsv .parquet, plain or .gz .zst .bz2)"
        )
    return files


def _looks_like_dump(name: str) -> bool:
    hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    return not hidden and bool(_INPUT_SUFFIXES.search(name))


def _glob(pattern: Location, text: str) -> list[Location]:
    first = min(pattern.path.find(c) for c in "*?[" if c in pattern.path)
    base = pattern.path[:first].rpartition("/")[0]
    prefix = pattern.uri[: len(pattern.uri) - len(pattern.path)]
    root = Location(pattern.filesystem, base, f"{prefix}{base}")
    files = [f for f in root.list_files() if _matches(f.path.split("/"), pattern.path.split("/"))]
    if not files:
        raise InputError(f"{text}: no file matches this pattern")
    return files


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


def fingerprint(file: Location) -> str:
    """A short name for a file's content: SHA-256 over its size and its first, middle and last MiB.

    Reading all of a 30 GB dump a second time would cost as much as the job; a change that keeps the
    size and all three samples is not noticed.
    """
    size = file.info().size
    sha = hashlib.sha256(str(size).encode())
    with file.open_input() as stream:
        for start in sorted({0, max(0, size // 2 - _SAMPLE_BYTES // 2), max(0, size - _SAMPLE_BYTES)}):
            stream.seek(start)
            sha.update(stream.read(_SAMPLE_BYTES))
    return sha.hexdigest()[:16]


def check_writable(directory: Location) -> None:
    """Create the directory and write and delete a small file in it.

    Raises:
        OutputError: that fails.
    """
    probe = directory.child(f"{TEMPORARY_MARK}{uuid.uuid4().hex}")
    try:
        directory.filesystem.create_dir(directory.path, recursive=True)
        with directory.filesystem.open_output_stream(probe.path) as file:
            file.write(b"rayview")
        directory.filesystem.delete_file(probe.path)
    except OSError as error:
        raise OutputError(
            f"{directory.uri}: cannot be written to: {_short(error)}; choose another --output"
        ) from None


def local_copy(directory: Location) -> Path:
    """A local directory with the same files: itself, or a download kept for the life of the machine's temp.

    Raises:
        InputError: it cannot be read.
    """
    if directory.is_local:
        return Path(directory.path)
    target = (
        Path(tempfile.gettempdir()) / f"rayview-{hashlib.sha256(directory.uri.encode()).hexdigest()[:16]}"
    )
    fresh = target.with_name(f"{target.name}-{uuid.uuid4().hex}")
    for file in directory.list_files():
        to = fresh / file.uri[len(directory.uri) + 1 :]
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(file.read_bytes())
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return target


def _write_local(path: Path, data: bytes | memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_MARK}{uuid.uuid4().hex}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _short(error: Exception) -> str:
    """The plain reason of an error, without pyarrow's `Detail:` tail."""
    text = getattr(error, "strerror", None) or str(error)
    return text.partition(". Detail:")[0].partition("Detail:")[0].strip().rstrip(".")
