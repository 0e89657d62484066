"""Sequential reading of a file with read-ahead; a failed, short or inconsistent read is always an error."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.storage.explain import explain
from pipeline.storage.location import Location

_FIRST_BLOCK_BYTES = 1 << 18
_MAX_BLOCK_BYTES = 1 << 22
_BLOCKS_AHEAD = 2


class FileReader:
    """An open file; a file in an object store is prefetched in large blocks."""

    def __init__(self, file: Location) -> None:
        """Open the file; raises InputError as `Location.open_input` does."""
        self._file = file
        self._stream = file.open_input()
        self._size = self._stream.size()
        self._ahead = None if file.is_local else _Prefetcher(file, self._stream, self._size)

    def __enter__(self) -> FileReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._stream.close()

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end of the file.

        Raises:
            InputError: the bytes cannot be read, or the file changed after it was opened.
        """
        position = self.tell()
        try:
            data = self._stream.read(size) if self._ahead is None else self._ahead.read(size)
        except OSError as error:
            reason = explain(error)
            raise InputError(f"{self._file.uri}: reading failed near byte {position}: {reason}") from None
        if not data and size and position < self._size:
            raise _changed(self._file)
        return bytes(data)

    def seek(self, position: int) -> None:
        """Set the position in bytes; blocks prefetched for another position are discarded."""
        if self._ahead is None:
            self._stream.seek(position)
        elif not self._ahead.seek(position):
            self._ahead.close()
            self._ahead = _Prefetcher(self._file, self._stream, self._size, position)

    def tell(self) -> int:
        """Position of the next byte."""
        return int((self._ahead or self._stream).tell())


class _Prefetcher:
    """Blocks of an object, read ahead by threads.

    Block sizes grow: reading only the start of a file is cheap, and a whole file takes few requests.
    """

    def __init__(self, file: Location, stream: pa.NativeFile, size: int, start: int = 0) -> None:
        self._file, self._stream, self._size = file, stream, size
        self._version = file_version(file, stream)
        self._pool = ThreadPoolExecutor(_BLOCKS_AHEAD)
        self._pending: deque[Future[bytes]] = deque()
        self._next_start, self._block_bytes = start, _FIRST_BLOCK_BYTES
        self._block, self._block_start, self._offset = memoryview(b""), start, 0

    def read(self, size: int) -> memoryview:
        """The next bytes, at most `size`; empty at the end of the object.

        Raises:
            OSError: the object cannot be read.
            InputError: the object changed after it was opened.
        """
        if self._offset == len(self._block):
            self._next_block()
        piece = self._block[self._offset : self._offset + size]
        self._offset += len(piece)
        return piece

    def seek(self, position: int) -> bool:
        """Set the position if it is within the current block; returns whether it is."""
        if not 0 <= position - self._block_start <= len(self._block):
            return False
        self._offset = position - self._block_start
        return True

    def tell(self) -> int:
        """Position of the next byte."""
        return self._block_start + self._offset

    def close(self) -> None:
        """Cancel pending requests and stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _next_block(self) -> None:
        # Only one block first: many callers read only the start of a file.
        self._request(_BLOCKS_AHEAD if self._next_start else 1)
        if self._pending:
            self._block_start, self._offset = self._block_start + len(self._block), 0
            self._block = memoryview(self._pending.popleft().result())

    def _request(self, max_pending: int) -> None:
        while len(self._pending) < max_pending and self._next_start < self._size:
            size = min(self._block_bytes, self._size - self._next_start)
            self._pending.append(self._pool.submit(self._load, self._next_start, size))
            self._next_start += size
            self._block_bytes = min(2 * self._block_bytes, _MAX_BLOCK_BYTES)

    def _load(self, start: int, size: int) -> bytes:
        data = bytes(self._stream.read_at(size, start))
        # If an object has become shorter, Arrow returns uninitialized memory for the missing bytes.
        with self._file.open_input() as stream:
            if len(data) != size or file_version(self._file, stream) != self._version:
                raise _changed(self._file)
        return data


def file_version(file: Location, stream: pa.NativeFile) -> tuple[int, str]:
    """Size in bytes of an open file, and its ETag, or its modification time if it has none."""
    metadata = {str(name).lower(): value for name, value in (stream.metadata() or {}).items()}
    return stream.size(), str(metadata.get("etag") or file.info().mtime_ns)


def _changed(file: Location) -> InputError:
    return InputError(f"{file.uri}: changed while it was being read; rerun the command")
