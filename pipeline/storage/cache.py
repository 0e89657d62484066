"""Local copies of directories in object stores, for libraries that only read local paths."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from pipeline.errors import InputError
from pipeline.storage.location import Location
from pipeline.storage.readahead import file_version


def local_copy(directory: Location) -> Path:
    """Local path of a directory: the directory itself, or a cached download of it.

    A download is named after the names and versions of its files and never modified afterwards. Any number of
    processes can share it, and a changed source directory results in a new download.

    Raises:
        InputError: the directory is missing, empty, or cannot be read.
    """
    if directory.is_local:
        return Path(directory.path)
    files = directory.list_files()
    if not files:
        raise InputError(f"{directory.uri}: no such directory, or it is empty")
    versions = {directory.relative(file): _version(file) for file in files}
    name = hashlib.sha256(repr((directory.uri, sorted(versions.items()))).encode()).hexdigest()[:16]
    target = _cache_directory() / name
    if _is_complete(target, versions):
        return target
    download = _cache_directory() / f"{name}-{uuid.uuid4().hex}"
    try:
        for file in files:
            copy = download / directory.relative(file)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    except BaseException:
        shutil.rmtree(download, ignore_errors=True)
        raise
    return _publish(download, target, versions)


def _version(file: Location) -> tuple[int, str]:
    with file.open_input() as stream:
        return file_version(file, stream)


def _publish(download: Path, target: Path, versions: dict[str, tuple[int, str]]) -> Path:
    """Rename a download to its final name, unless another process did so first."""
    try:
        download.rename(target)
    except OSError:
        if not _is_complete(target, versions):
            # Files of the existing copy are missing, for example after a clean-up of the temporary directory.
            # Another process may still use it, so it stays as it is.
            return download
        shutil.rmtree(download, ignore_errors=True)
    return target


def _is_complete(copy: Path, versions: dict[str, tuple[int, str]]) -> bool:
    try:
        return all((copy / name).stat().st_size == size for name, (size, _) in versions.items())
    except OSError:
        return False


def _cache_directory() -> Path:
    # Private to this user: nobody else may plant a model in it.
    directory = Path(tempfile.gettempdir()) / f"rayview-models-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise InputError(f"{directory}: owned by another user; set TMPDIR to a directory of your own")
    return directory
