"""Read a file from front to back; no failed, short or mixed read is taken for its content or its end."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.storage.explain import explain
from pipeline.storage.location import Location

_FIRST_BLOCK_BYTES = 1 << 18
_LARGEST_BLOCK_BYTES = 1 << 22
_BLOCKS_AHEAD = 2


class Reading:
    """An open file; from an object store it comes in large blocks, asked for before they are needed."""

    def __init__(self, file: Location) -> None:
        """Open it; InputError as `Location.open_input`."""
        self._file = file
        self._stream = file.open_input()
        self._size = self._stream.size()
        self._ahead = None if file.is_local else _Ahead(file, self._stream, self._size)

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._stream.close()

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end.

        Raises:
            InputError: they cannot be read, or the file has been changed since it was opened.
        """
        at = self.tell()
        try:
            data = self._stream.read(size) if self._ahead is None else self._ahead.read(size)
        except OSError as error:
            raise InputError(f"{self._file.uri}: reading failed near byte {at}: {explain(error)}") from None
        if not data and size and at < self._size:
            raise _changed(self._file)
        return bytes(data)

    def seek(self, position: int) -> None:
        """Go to a byte; what was read ahead for another place is lost."""
        if self._ahead is None:
            self._stream.seek(position)
        elif not self._ahead.seek(position):
            self._ahead.close()
            self._ahead = _Ahead(self._file, self._stream, self._size, position)

    def tell(self) -> int:
        """The byte that is read next."""
        return int((self._ahead or self._stream).tell())


class _Ahead:
    """Blocks of an object, of growing size: a start is cheap to read, and a whole file takes few requests."""

    def __init__(self, file: Location, stream: pa.NativeFile, size: int, start: int = 0) -> None:
        self._file, self._stream, self._size = file, stream, size
        self._version = version_of(file, stream)
        self._pool = ThreadPoolExecutor(_BLOCKS_AHEAD)
        self._waiting: deque[Future[bytes]] = deque()
        self._asked, self._block_bytes = start, _FIRST_BLOCK_BYTES
        self._block, self._block_start, self._offset = memoryview(b""), start, 0

    def read(self, size: int) -> memoryview:
        """The next bytes, at most `size` of them; none at the end.

        Raises:
            OSError: the object cannot be read.
            InputError: it has been changed since it was opened.
        """
        if self._offset == len(self._block):
            self._take_next()
        piece = self._block[self._offset : self._offset + size]
        self._offset += len(piece)
        return piece

    def seek(self, position: int) -> bool:
        """Go to a byte of the block at hand; False where it is in none."""
        if not 0 <= position - self._block_start <= len(self._block):
            return False
        self._offset = position - self._block_start
        return True

    def tell(self) -> int:
        """The byte that is read next."""
        return self._block_start + self._offset

    def close(self) -> None:
        """Ask for no more blocks."""
        self._pool.shutdown(cancel_futures=True)

    def _take_next(self) -> None:
        # Who reads only the start of a file shall not pay for more.
        self._ask(_BLOCKS_AHEAD if self._asked else 1)
        if self._waiting:
            self._block_start, self._offset = self._block_start + len(self._block), 0
            self._block = memoryview(self._waiting.popleft().result())

    def _ask(self, blocks: int) -> None:
        while len(self._waiting) < blocks and self._asked < self._size:
            size = min(self._block_bytes, self._size - self._asked)
            self._waiting.append(self._pool.submit(self._load, self._asked, size))
            self._asked += size
            self._block_bytes = min(2 * self._block_bytes, _LARGEST_BLOCK_BYTES)

    def _load(self, start: int, size: int) -> bytes:
        data = bytes(self._stream.read_at(size, start))
        # Where an object has become shorter, Arrow fills what is missing with whatever was in memory.
        with self._file.open_input() as stream:
            if len(data) != size or version_of(self._file, stream) != self._version:
                raise _changed(self._file)
        return data


def version_of(file: Location, stream: pa.NativeFile) -> tuple[int, str]:
    """Size of an open file, and what changes with its content: its ETag, else the time of its last change."""
    about = {str(name).lower(): value for name, value in (stream.metadata() or {}).items()}
    return stream.size(), str(about.get("etag") or file.info().mtime_ns)


def _changed(file: Location) -> InputError:
    return InputError(f"{file.uri}: was changed while it was read; give the command again")
