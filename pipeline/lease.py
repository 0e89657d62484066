"""Who is at work in a directory of an object store, or of a network filesystem, where locks do not hold.

A job writes a small file there and changes it every few seconds. Another one that finds such a file watches
it: if it changes, its owner lives; if it does not for a while, the owner is dead, and the file is taken over.
No clock is compared with another, so it does not matter how they go.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import socket
import threading
import time
import uuid
from contextlib import suppress

from pipeline.errors import InputError, OutputError, RayviewError
from pipeline.objectstore import TEMPORARY_MARK
from pipeline.storage import Location

LEASE_FILE = f"{TEMPORARY_MARK}lease"

BEAT_S = 5.0
"""Between two changes of the file."""

_DEAD_AFTER_S = 3 * BEAT_S
_POLL_S = 0.5
_RACE_S = 1.0
"""So long after writing the file a job looks whether another one has written it at the same time."""

_LONGEST_END_S = 15.0
"""A job that ends waits no longer for a store that does not answer."""


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
        time.sleep(_RACE_S)
        if lease._owner_there() != lease._owner:
            raise lease._refusal()
        lease._thread.start()
        return lease

    def release(self) -> None:
        """Let others write there."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            # Else what it is writing would come after the deletion.
            self._thread.join(_LONGEST_END_S)
        with suppress(RayviewError):
            if self._owner_there() == self._owner:
                self._file.delete_file()

    def _wait_for_silence(self) -> None:
        first = self._content()
        deadline = time.monotonic() + _DEAD_AFTER_S
        while first is not None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
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
        try:
            return str(json.loads(self._content() or b"{}").get("owner"))
        except (ValueError, AttributeError):
            return None

    def _content(self) -> bytes | None:
        if not self._file.exists():
            return None
        try:
            return self._file.read_bytes()
        except InputError:
            # It was deleted just now.
            return None

    def _write(self) -> None:
        about = {"owner": self._owner, "host": socket.gethostname(), "pid": os.getpid(), "beats": self._beats}
        self._file.write_bytes(json.dumps(about).encode())

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._beats += 1
            # A store that does not answer for a while must not end the job here.
            with suppress(RayviewError):
                if self._owner_there() not in (self._owner, None):
                    # This job was silent for so long that another one took it for dead.
                    self.is_lost = True
                    # Not SIGINT: who was started in the background by a script ignores that.
                    _thread.interrupt_main(signal.SIGTERM)
                    return
                self._write()
