"""Functions that fail in workers; workers import them by name."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipeline.errors import ModelError

MESSAGE = "model: is broken\nin its second line"


class TwoFieldError(Exception):
    """An exception that cannot be unpickled: its constructor requires two arguments."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}\nmore")


UNKNOWN = f"{TwoFieldError.__module__}.TwoFieldError: 1 and 2"


def fail_known(_: object = None) -> pa.Table:
    raise ModelError(MESSAGE)


def fail_unknown(_: object = None) -> pa.Table:
    raise TwoFieldError(1, 2)


def read_one() -> Iterator[pa.Table]:
    yield pa.table({"x": [1]})


def read_and_fail() -> Iterator[pa.Table]:
    yield from read_one()
    fail_known()


class FailsInCall:
    def __call__(self, table: pa.Table) -> pa.Table:
        fail_known()
        return table


class FailsInConstructor:
    def __init__(self) -> None:
        fail_known()

    def __call__(self, table: pa.Table) -> pa.Table:
        return table
