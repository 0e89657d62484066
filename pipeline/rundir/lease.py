"""Leases of directories in object stores and on network filesystems, where file locks do not work.

A job writes a small file to the directory and changes it every few seconds (heartbeat). Another job that
finds such a file watches it: if it changes, its owner is alive; if it does not change for a while, the lease
has expired and is taken over. Clocks of different machines are never compared.
"""

from __future__ import annotations

import _thread
import json
import os
import re
import signal
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

import psutil

from pipeline.errors import InputError, OutputError, RayviewError
from pipeline.storage.location import Location
from pipeline.storage.objectstore import TEMPORARY_MARK

LEASE_FILE = f"{TEMPORARY_MARK}lease"


@dataclass(frozen=True)
class LeaseTiming:
    """Intervals of a lease, in seconds."""

    heartbeat_s: float = 5.0
    """Interval between heartbeats."""
    expires_s: float = 15.0
    """A lease has expired if its file does not change for this long."""
    poll_s: float = 0.5
    race_s: float = 1.0
    """Delay between writing the file and checking whether another job wrote it at the same time."""
    release_s: float = 15.0
    """Maximum wait for an in-flight heartbeat when the job ends."""


TIMING = LeaseTiming()


class Lease:
    """Exclusive right to write to a directory, held from `take` to `release` or the end of the process."""

    def __init__(self, directory: Location) -> None:
        self._directory = directory
        self._file = directory.child(LEASE_FILE)
        self._owner = uuid.uuid4().hex
        self._beats = 0
        self.is_lost = False
        """Whether another job has taken over the directory and this process has been interrupted."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @classmethod
    def take(cls, directory: Location) -> Lease:
        """Acquire the lease of a directory; waits until an existing lease is released or has expired.

        Raises:
            OutputError: another job holds the lease, or the file cannot be written.
        """
        lease = cls(directory)
        lease._wait_until_expired()
        try:
            lease._write()
        except OutputError as error:
            raise OutputError(str(error).replace(lease._file.uri, directory.uri)) from None
        time.sleep(TIMING.race_s)
        if lease._current_owner() != lease._owner:
            raise lease._conflict()
        lease._thread.start()
        return lease

    def release(self) -> None:
        """Release the directory to other jobs."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            # An in-flight heartbeat could write the file after its deletion.
            self._thread.join(TIMING.release_s)
        with suppress(RayviewError):
            if self._current_owner() == self._owner:
                self._file.delete_file()

    def _wait_until_expired(self) -> None:
        first = self._content()
        deadline = time.monotonic() + TIMING.expires_s
        while first is not None and time.monotonic() < deadline:
            time.sleep(TIMING.poll_s)
            content = self._content()
            if content is None:
                return
            if content != first:
                raise self._conflict()

    def _conflict(self) -> OutputError:
        return OutputError(
            f"{self._directory.uri}: another job is writing to this directory ({self._holder()}); wait until"
            " it ends, or choose another --output"
        )

    def _holder(self) -> str:
        try:
            about = json.loads(self._content() or b"{}")
            return f"process {about['pid']} on {about['host']}"
        except (ValueError, KeyError, TypeError):
            return "unknown process"

    def _current_owner(self) -> str | None:
        """ID of the job that holds the lease; None if the file does not exist or is not a lease.

        Raises:
            InputError: the storage does not respond.
        """
        try:
            return str(json.loads(self._content() or b"")["owner"])
        except (ValueError, KeyError, TypeError):
            return None

    def _content(self) -> bytes | None:
        """Content of the file; None if it does not exist.

        Raises:
            InputError: the storage does not respond.
        """
        if not self._file.exists():
            return None
        try:
            return self._file.read_bytes()
        except InputError:
            if self._file.exists():
                raise
            return None

    def _write(self) -> None:
        about = {"owner": self._owner, "host": socket.gethostname(), "pid": os.getpid(), "beats": self._beats}
        self._file.write_bytes(json.dumps(about).encode())

    def _beat(self) -> None:
        while not self._ended.wait(TIMING.heartbeat_s):
            self._beats += 1
            # A store that does not respond for a while must not end the job.
            with suppress(RayviewError):
                owner = self._current_owner()
                if self._ended.is_set():
                    # The file may have been deleted.
                    return
                if owner != self._owner:
                    # No heartbeat arrived in time and another job took over. If the file is missing, that job
                    # has ended.
                    self.is_lost = True
                    # Not SIGINT: processes that a script starts in the background ignore it.
                    _thread.interrupt_main(signal.SIGTERM)
                    return
                self._write()


_SHARED = re.compile(r"nfs|cifs|smb|ceph|lustre|gpfs|beegfs|gluster|afs|fuse\.(?!fuse-overlayfs)")
"""Prefixes of the types of network filesystems, including FUSE mounts, which may serve a bucket."""


def is_shared(path: str) -> bool:
    """Whether a path is on a network filesystem, where a lock may only exclude processes of this machine."""
    real = f"{os.path.realpath(path).rstrip('/')}/"
    nearest, kind = "", ""
    for mount in psutil.disk_partitions(all=True):
        point = f"{mount.mountpoint.rstrip('/')}/"
        # Of two mounts at the same point, the last one hides the other.
        if real.startswith(point) and len(point) >= len(nearest):
            nearest, kind = point, mount.fstype
    return _SHARED.match(kind) is not None
