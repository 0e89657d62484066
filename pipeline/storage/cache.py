"""Local copies of directories in object stores, for libraries that read paths alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from pipeline.errors import InputError
from pipeline.storage.location import Location
from pipeline.storage.readahead import version_of


def local_copy(directory: Location) -> Path:
    """A local directory with the same files: itself, or a download.

    A download is named after the files' names and versions and never changed once it has its name. So any
    number of processes share it, and a directory that was written anew is another download.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    if directory.is_local:
        return Path(directory.path)
    files = directory.list_files()
    if not files:
        raise InputError(f"{directory.uri}: no such directory, or it is empty")
    versions = {directory.relative(file): _version(file) for file in files}
    name = hashlib.sha256(repr((directory.uri, sorted(versions.items()))).encode()).hexdigest()[:16]
    target = _cache() / name
    if _is_whole(target, versions):
        return target
    fresh = _cache() / f"{name}-{uuid.uuid4().hex}"
    try:
        for file in files:
            to = fresh / directory.relative(file)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(file.read_bytes())
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return _settle(fresh, target, versions)


def _version(file: Location) -> tuple[int, str]:
    with file.open_input() as stream:
        return version_of(file, stream)


def _settle(fresh: Path, target: Path, versions: dict[str, tuple[int, str]]) -> Path:
    """Give a download its name, unless another process was first."""
    try:
        fresh.rename(target)
    except OSError:
        if not _is_whole(target, versions):
            # What is there lacks files, as after a clean-up of old ones, and may be in use: it is let be.
            return fresh
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _is_whole(copy: Path, versions: dict[str, tuple[int, str]]) -> bool:
    try:
        return all((copy / name).stat().st_size == size for name, (size, _) in versions.items())
    except OSError:
        return False


def _cache() -> Path:
    # Nobody else may put a model there.
    folder = Path(tempfile.gettempdir()) / f"rayview-models-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: belongs to another user; set TMPDIR to a folder of your own")
    return folder
