"""Local paths and object stores alike: find inputs, read, write in one piece.

A `Location` is a pyarrow filesystem and a path in it. Everything that a stage writes goes through
`Location.write_bytes`, which never leaves a half-written file under its final name.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as pafs

from pipeline.errors import InputError, OutputError
from pipeline.storage import objectstore
from pipeline.storage.explain import explain, with_text
from pipeline.storage.objectstore import upload

_SAMPLE_BYTES = 1 << 20
_PIECE_BYTES = 1 << 24

_PAUSES_S = (0.5, 1, 2, 4, 8, 16, 30)
"""Between two attempts to write a file to a disk; a minute in all."""


@dataclass(frozen=True)
class Location:
    """A file or directory, local or in an object store."""

    filesystem: pafs.FileSystem
    path: str
    uri: str
    """What is shown and stored: an absolute path, or a URI with its scheme; never with a secret in it."""
    lookups: pafs.FileSystem | None = field(default=None, compare=False)
    """The filesystem to ask what is there; see `objectstore.Clients`. None: `filesystem`."""

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
        uri, query = self._parts
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", uri=f"{uri.rstrip('/')}/{name}{query}")

    @property
    def parent(self) -> Location:
        """The directory that this is in; a bucket is in itself."""
        if not self.is_local and "/" not in self.path:
            return self
        uri, query = self._parts
        return replace(self, path=self.path.rpartition("/")[0], uri=uri.rpartition("/")[0] + query)

    @property
    def _parts(self) -> tuple[str, str]:
        """The URI up to its query, and that."""
        if self.is_local:
            return self.uri, ""
        root, path, query = objectstore.split_uri(self.uri)
        return root + path, query

    def relative(self, file: Location) -> str:
        """The name of a file below this directory."""
        return file.path.removeprefix(f"{self.path.rstrip('/')}/")

    def info(self) -> pafs.FileInfo:
        """pyarrow `FileInfo`: type, size in bytes, modification time.

        Raises:
            InputError: the storage cannot be asked, or there is no such bucket.
        """
        filesystem = self.lookups or self.filesystem
        try:
            info = filesystem.get_file_info(self.path)
        except (OSError, ValueError) as error:
            reason = explain(with_text(error, filesystem, self.path))
            raise InputError(f"{self.uri}: cannot be looked up: {reason}") from None
        if info.type == pafs.FileType.NotFound and objectstore.bucket_is_missing(filesystem, self.path):
            raise InputError(f"{self.uri}: there is no such bucket")
        return info

    def exists(self) -> bool:
        """Whether a file or a directory is here."""
        return bool(self.info().type != pafs.FileType.NotFound)

    def list_files(self, *, recursive: bool = True) -> list[Location]:
        """The files below this directory in order of name, unfinished temporaries left out.

        Raises:
            InputError: it is no directory, or cannot be read.
        """
        names = sorted(self._list(recursive=recursive))
        return [self.child(name) for name in names if objectstore.TEMPORARY_MARK not in name]

    def sizes(self, *, recursive: bool = True) -> dict[str, int]:
        """Bytes of every file below this directory, by its name from here; unfinished temporaries too.

        Raises:
            InputError: as `list_files`.
        """
        return self._list(recursive=recursive)

    def _list(self, *, recursive: bool) -> dict[str, int]:
        selector = pafs.FileSelector(self.path, recursive=recursive, allow_not_found=True)
        base = self.path.rstrip("/")
        try:
            infos = (self.lookups or self.filesystem).get_file_info(selector)
        except OSError as error:
            raise InputError(f"{self.uri}: cannot be listed: {explain(error)}") from None
        return {_path_of(i)[len(base) + 1 :]: i.size for i in infos if i.type == pafs.FileType.File}

    def holds(self, other: Location) -> bool:
        """Whether another location is this one or lies below it."""
        if self.filesystem.type_name != other.filesystem.type_name:
            return False
        mine, theirs = self.path, other.path
        if self.is_local:
            # Links may lead there.
            mine, theirs = os.path.realpath(mine), os.path.realpath(theirs)
        return f"{theirs.rstrip('/')}/".startswith(f"{mine.rstrip('/')}/")

    def open_input(self) -> pa.NativeFile:
        """A pyarrow random-access file of the raw bytes.

        Raises:
            InputError: it is missing or cannot be read.
        """
        try:
            return self.filesystem.open_input_file(self.path)
        except (OSError, UnicodeEncodeError) as error:
            raise InputError(f"{self.uri}: cannot be read: {explain(error)}") from None

    def read_bytes(self) -> bytes:
        """The whole content; InputError as `open_input`."""
        return b"".join(self.read_pieces(None))

    def read_pieces(self, size: int | None = _PIECE_BYTES) -> Iterator[bytes]:
        """The content, so many bytes at a time, or None for all at once; InputError as `open_input`."""
        with self.open_input() as file:
            try:
                while piece := file.read(size):
                    yield piece
            except OSError as error:
                raise InputError(f"{self.uri}: cannot be read: {explain(error)}") from None

    def write_bytes(self, data: bytes | memoryview, *, durable: bool = True, patient: bool = False) -> None:
        """Write a whole file in one piece: under its name there is the old content or all of the new.

        Local: a temporary name, flushed to disk, then renamed. Object store: one upload, visible at its end.

        Args:
            durable: whether it must outlast a loss of power; else it is not flushed to disk.
            patient: whether to try for a minute what fails, as a disk that is full may not stay so. The
                clients of object stores do that anyway.
        Raises:
            OutputError: it cannot be written.
        """
        try:
            if self.is_local:
                _write_local(Path(self.path), data, durable, _PAUSES_S if patient else ())
            else:
                with upload(self.filesystem, self.path) as file:
                    file.write(data)
        except OSError as error:
            raise OutputError(f"{self.uri}: cannot be written: {explain(error)}") from None

    def delete_file(self) -> None:
        """Delete this file.

        Raises:
            OutputError: that fails.
        """
        try:
            self.filesystem.delete_file(self.path)
        except OSError as error:
            raise OutputError(f"{self.uri}: cannot be deleted: {explain(error)}") from None

    def delete_tree(self) -> None:
        """Delete this directory and all below it; nothing happens where there is none.

        Raises:
            OutputError: that fails.
        """
        if self.info().type != pafs.FileType.Directory:
            return
        try:
            if self.parent == self:
                self.filesystem.delete_dir_contents(self.path)
            else:
                self.filesystem.delete_dir(self.path)
        except OSError as error:
            raise OutputError(f"{self.uri}: cannot be deleted: {explain(error)}") from None

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
    root, path, query = objectstore.split_uri(text)
    path = path.rstrip("/")
    if "//" in path:
        raise InputError(f"{text}: two slashes in a row; no part of a path may be empty")
    try:
        clients, base = objectstore.connect(root, query)
    except (OSError, ValueError) as error:
        raise InputError(f"{text}: not a location that can be opened: {explain(error)}") from None
    return Location(clients.work, base + path, root + path + query, clients.lookups)


def _path_of(info: pafs.FileInfo) -> str:
    """The path of a `FileInfo`; if it is no UTF-8, as Python has such paths from the system."""
    try:
        return str(info.path)
    except UnicodeDecodeError as error:
        return os.fsdecode(error.object)


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
    probe = directory.child(f"{objectstore.TEMPORARY_MARK}{uuid.uuid4().hex}")
    try:
        if directory.is_local:
            # An object store has no directories.
            directory.filesystem.create_dir(directory.path, recursive=True)
        with upload(directory.filesystem, probe.path) as file:
            file.write(b"rayview")
        directory.filesystem.delete_file(probe.path)
    except OSError as error:
        raise OutputError(
            f"{directory.uri}: cannot be written to: {explain(error)}; choose another --output"
        ) from None


def _write_local(path: Path, data: bytes | memoryview, durable: bool, pauses_s: Iterable[float] = ()) -> None:
    for pause_s in pauses_s:
        try:
            _write_once(path, data, durable)
        except OSError:
            # Many writers that failed together must not try again together.
            time.sleep(pause_s * random.uniform(0.5, 1.5))
        else:
            return
    _write_once(path, data, durable)


def _write_once(path: Path, data: bytes | memoryview, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{objectstore.TEMPORARY_MARK}{uuid.uuid4().hex}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
