"""`Location`: a file or directory on a local disk or in an object store; list, read, write atomically.

All output of all stages goes through `Location.write_bytes`, which never leaves a partial file under its
final name.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as pafs

from pipeline.errors import InputError, OutputError
from pipeline.storage import objectstore
from pipeline.storage.explain import explain, with_message
from pipeline.storage.localwrite import write_file
from pipeline.storage.objectstore import upload

CONCURRENT_FILES = 16
"""Files that a process opens, checks or deletes concurrently; most of the time is spent waiting."""

_SAMPLE_BYTES = 1 << 20
_PIECE_BYTES = 1 << 24


@dataclass(frozen=True)
class Location:
    """A file or directory, local or in an object store: a pyarrow filesystem and a path in it."""

    filesystem: pafs.FileSystem
    path: str
    uri: str
    """Absolute path, or URI with its scheme, for messages and manifests; never contains a secret."""
    lookups: pafs.FileSystem | None = field(default=None, compare=False)
    """Filesystem with short timeouts for metadata requests; see `objectstore.Clients`. None: `filesystem`."""

    @property
    def is_local(self) -> bool:
        """Whether this is a path on this machine."""
        return "://" not in self.uri

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def child(self, name: str) -> Location:
        """Location of `name`, which may contain slashes, below this one."""
        uri, query = self._parts
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", uri=f"{uri.rstrip('/')}/{name}{query}")

    @property
    def parent(self) -> Location:
        """Parent directory; a bucket is its own parent."""
        if not self.is_local and "/" not in self.path:
            return self
        uri, query = self._parts
        return replace(self, path=self.path.rpartition("/")[0], uri=uri.rpartition("/")[0] + query)

    @property
    def _parts(self) -> tuple[str, str]:
        """The URI without its query, and the query."""
        if self.is_local:
            return self.uri, ""
        root, path, query = objectstore.split_uri(self.uri)
        return root + path, query

    def relative(self, file: Location) -> str:
        """Path of a file below this directory, relative to it."""
        return file.path.removeprefix(f"{self.path.rstrip('/')}/")

    def info(self) -> pafs.FileInfo:
        """pyarrow `FileInfo`: type, size in bytes, modification time.

        Raises:
            InputError: the request fails, or the bucket does not exist.
        """
        filesystem = self.lookups or self.filesystem
        try:
            info = filesystem.get_file_info(self.path)
        except (OSError, ValueError) as error:
            reason = explain(with_message(error, filesystem, self.path))
            raise InputError(f"{self.uri}: cannot be looked up: {reason}") from None
        if info.type == pafs.FileType.NotFound and objectstore.bucket_is_missing(filesystem, self.path):
            raise InputError(f"{self.uri}: no such bucket")
        return info

    def exists(self) -> bool:
        """Whether this is an existing file or directory."""
        return bool(self.info().type != pafs.FileType.NotFound)

    def list_files(self, *, recursive: bool = True) -> list[Location]:
        """Files below this directory, sorted by name, without unfinished temporary files.

        Raises:
            InputError: this is not a directory, or cannot be listed.
        """
        names = sorted(self._list(recursive=recursive))
        return [self.child(name) for name in names if objectstore.TEMPORARY_MARK not in name]

    def sizes(self, *, recursive: bool = True) -> dict[str, int]:
        """Bytes of every file below this directory, by relative path; includes unfinished temporary files.

        Raises:
            InputError: as for `list_files`.
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

    def contains(self, other: Location) -> bool:
        """Whether another location is this one or is below it."""
        if self.filesystem.type_name != other.filesystem.type_name:
            return False
        path, other_path = self.path, other.path
        if self.is_local:
            # Either path may contain symbolic links.
            path, other_path = os.path.realpath(path), os.path.realpath(other_path)
        return f"{other_path.rstrip('/')}/".startswith(f"{path.rstrip('/')}/")

    def open_input(self) -> pa.NativeFile:
        """pyarrow random-access file of the raw bytes.

        Raises:
            InputError: the file is missing or cannot be read.
        """
        try:
            return self.filesystem.open_input_file(self.path)
        except (OSError, UnicodeEncodeError) as error:
            raise InputError(f"{self.uri}: cannot be read: {explain(error)}") from None

    def read_bytes(self) -> bytes:
        """The whole content; raises InputError as `open_input` does."""
        return b"".join(self.read_pieces(None))

    def read_pieces(self, size: int | None = _PIECE_BYTES) -> Iterator[bytes]:
        """The content in pieces of `size` bytes (None: one piece); raises InputError as `open_input` does."""
        with self.open_input() as file:
            try:
                while piece := file.read(size):
                    yield piece
            except OSError as error:
                raise InputError(f"{self.uri}: cannot be read: {explain(error)}") from None

    def write_bytes(self, data: bytes | memoryview, *, durable: bool = True, retry: bool = False) -> None:
        """Write a file atomically: readers see either the old file or the complete new one.

        Local: written under a temporary name, flushed to disk, then renamed. Object store: one upload, which
        becomes visible when it ends.

        Args:
            durable: flush to disk, so that the file survives a power failure.
            retry: retry a failed local write for one minute, because a full disk may be freed. The clients of
                object stores always retry.
        Raises:
            OutputError: the file cannot be written.
        """
        try:
            if self.is_local:
                write_file(Path(self.path), data, durable=durable, retry=retry)
            else:
                with upload(self.filesystem, self.path) as file:
                    file.write(data)
        except OSError as error:
            raise OutputError(f"{self.uri}: cannot be written: {explain(error)}") from None

    def delete_file(self) -> None:
        """Delete this file.

        Raises:
            OutputError: the file cannot be deleted.
        """
        try:
            self.filesystem.delete_file(self.path)
        except OSError as error:
            raise OutputError(f"{self.uri}: cannot be deleted: {explain(error)}") from None

    def delete_tree(self) -> None:
        """Delete this directory and everything below it; does nothing if the directory does not exist.

        Raises:
            OutputError: the directory cannot be deleted.
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
        """Copy the files of a local directory to this one, each atomically."""
        for file in sorted(p for p in directory.rglob("*") if p.is_file()):
            self.child(file.relative_to(directory).as_posix()).write_bytes(file.read_bytes())


def locate(path_or_uri: str | os.PathLike[str]) -> Location:
    """Location of a local path or a URI (s3://, gs://, file:// …).

    Raises:
        InputError: the path is empty, the scheme or an option is unknown, the URI contains a secret, or the
            store cannot be opened.
    """
    text = os.fspath(path_or_uri).removeprefix("file://")
    if not text:
        raise InputError("a path is empty; name a file, a directory or a URI")
    if "://" not in text:
        path = str(Path(text).expanduser().absolute())
        path = os.path.normpath(path)
        return Location(pafs.LocalFileSystem(), path, path)
    root, path, query = objectstore.split_uri(text)
    path = path.rstrip("/")
    if "//" in path:
        raise InputError(f"{text}: two slashes in a row; parts of a path must not be empty")
    try:
        clients, base = objectstore.connect(root, query)
    except (OSError, ValueError) as error:
        raise InputError(f"{text}: cannot be opened: {explain(error)}") from None
    return Location(clients.work, base + path, root + path + query, clients.lookups)


def _path_of(info: pafs.FileInfo) -> str:
    """Path of a `FileInfo`; bytes that are not valid UTF-8 become surrogates, as in `os.fsdecode`."""
    try:
        return str(info.path)
    except UnicodeDecodeError as error:
        return os.fsdecode(error.object)


def fingerprint(file: Location) -> str:
    """Fingerprint of a file's content: SHA-256 of its size and its first, middle and last MiB, 16 hex digits.

    A change that keeps the size and all three samples is not detected. Reading a 30 GB dump a second time
    would cost as much as the job.
    """
    size = file.info().size
    sha = hashlib.sha256(str(size).encode())
    with file.open_input() as stream:
        for start in sorted({0, max(0, size // 2 - _SAMPLE_BYTES // 2), max(0, size - _SAMPLE_BYTES)}):
            stream.seek(start)
            sha.update(stream.read(_SAMPLE_BYTES))
    return sha.hexdigest()[:16]


def check_writable(directory: Location) -> None:
    """Create a directory, then write and delete a small file in it.

    Raises:
        OutputError: one of these steps fails.
    """
    probe = directory.child(f"{objectstore.TEMPORARY_MARK}{uuid.uuid4().hex}")
    try:
        if directory.is_local:
            # Object stores have no directories.
            directory.filesystem.create_dir(directory.path, recursive=True)
        with upload(directory.filesystem, probe.path) as file:
            file.write(b"rayview")
        directory.filesystem.delete_file(probe.path)
    except OSError as error:
        raise OutputError(
            f"{directory.uri}: cannot be written to: {explain(error)}; choose another --output"
        ) from None
