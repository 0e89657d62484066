"""Who is at work in a directory of an object store, or of a network filesystem, where locks do not hold.

A job writes a small file there and changes it every few seconds. Another one that finds such a file watches
it: if it changes, its owner lives; if it does not for a while, the owner is dead, and the file is taken over.
No clock is compared with another, so it does not matter how they go.
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
    """Between two changes of the file."""
    expires_s: float = 15.0
    """A lease whose file does not change for this long has expired."""
    poll_s: float = 0.5
    race_s: float = 1.0
    """How long after writing the file a job checks whether another job wrote it at the same time."""
    release_s: float = 15.0
    """Longest wait for a heartbeat in flight when the job ends."""


TIMING = LeaseTiming()


class Lease:
    """The right to write to a directory, held from `take` to `release` or the end of the process."""

    def __init__(self, directory: Location) -> None:
        self._directory = directory
        self._file = directory.child(LEASE_FILE)
        self._owner = uuid.uuid4().hex
        self._beats = 0
        self.is_lost = False
        """Whether another job has taken the directory over; then this one has been interrupted."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @classmethod
    def take(cls, directory: Location) -> Lease:
        """Wait until nobody holds the directory, or is seen to hold it.

        Raises:
            OutputError: another job is at work there; or nothing can be written.
        """
        lease = cls(directory)
        lease._wait_for_silence()
        try:
            lease._write()
        except OutputError as error:
            raise OutputError(str(error).replace(lease._file.uri, directory.uri)) from None
        time.sleep(TIMING.race_s)
        if lease._owner_there() != lease._owner:
            raise lease._refusal()
        lease._thread.start()
        return lease

    def release(self) -> None:
        """Let others write there."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            # A heartbeat in flight could write the file after its deletion.
            self._thread.join(TIMING.release_s)
        with suppress(RayviewError):
            if self._owner_there() == self._owner:
                self._file.delete_file()

    def _wait_for_silence(self) -> None:
        first = self._content()
        deadline = time.monotonic() + TIMING.expires_s
        while first is not None and time.monotonic() < deadline:
            time.sleep(TIMING.poll_s)
            content = self._content()
            if content is None:
                return
            if content != first:
                raise self._refusal()

    def _refusal(self) -> OutputError:
        return OutputError(
            f"{self._directory.uri}: another job is writing there ({self._whose()}); wait for its end, or"
            " choose another --output"
        )

    def _whose(self) -> str:
        try:
            about = json.loads(self._content() or b"{}")
            return f"process {about['pid']} on {about['host']}"
        except (ValueError, KeyError, TypeError):
            return "it does not say which"

    def _owner_there(self) -> str | None:
        """Who the file says holds the directory; None if there is no file, or it does not say.

        Raises:
            InputError: the storage does not answer.
        """
        try:
            return str(json.loads(self._content() or b"")["owner"])
        except (ValueError, KeyError, TypeError):
            return None

    def _content(self) -> bytes | None:
        """What is in the file; None if there is none.

        Raises:
            InputError: the storage does not answer.
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
            # A store that does not answer for a while must not end the job here.
            with suppress(RayviewError):
                owner = self._owner_there()
                if self._ended.is_set():
                    # The file may be deleted already.
                    return
                if owner != self._owner:
                    # No heartbeat arrived in time, and another job took over; without a file, it has ended.
                    self.is_lost = True
                    # Not SIGINT: processes that a script starts in the background ignore it.
                    _thread.interrupt_main(signal.SIGTERM)
                    return
                self._write()


_SHARED = re.compile(r"nfs|cifs|smb|ceph|lustre|gpfs|beegfs|gluster|afs|fuse\.(?!fuse-overlayfs)")
"""What the names of network filesystems begin with; also those that a program serves, as for a bucket."""


def is_shared(path: str) -> bool:
    """Whether a path is on a network filesystem, where a lock may keep out this machine's processes alone."""
    real = f"{os.path.realpath(path).rstrip('/')}/"
    nearest, kind = "", ""
    for mount in psutil.disk_partitions(all=True):
        point = f"{mount.mountpoint.rstrip('/')}/"
        # The last of two at one place hides the other.
        if real.startswith(point) and len(point) >= len(nearest):
            nearest, kind = point, mount.fstype
    return _SHARED.match(kind) is not None
