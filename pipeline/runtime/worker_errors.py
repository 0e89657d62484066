"""Propagation of errors from workers: the driver raises the exception that a worker raised.

Ray reports some exceptions only as text: those that cannot be unpickled, and those of an actor's constructor.
Ray Data appends advice to the message of every exception. So functions and classes for workers are wrapped to
raise each exception as a WorkerError, which the driver unwraps.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from pipeline.errors import RayviewError

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")


class WorkerError(Exception):
    """An exception in a worker; always picklable.

    If `error` is set, the driver raises it instead.
    """

    def __init__(self, summary: str, error: RayviewError | None = None) -> None:
        """Store type and message of the exception, and the exception itself if it is a RayviewError."""
        super().__init__(summary)
        self.summary = summary
        self.error = error

    def __reduce__(self) -> tuple[type[WorkerError], tuple[str, RayviewError | None]]:
        return WorkerError, (self.summary, self.error)

    def __str__(self) -> str:
        # Not `args`, to which Ray Data appends its advice.
        return self.summary


def summarize(error: BaseException) -> str:
    """Type and first line of an exception; for a WorkerError, those of the original exception."""
    if isinstance(error, WorkerError):
        return error.summary
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    message = str(error).strip().partition("\n")[0]
    return f"{name}: {message}" if message else name


@contextmanager
def _as_worker_error() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise WorkerError(summarize(error), error if isinstance(error, RayviewError) else None) from error


def for_worker(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Wrap a function for workers so that it raises WorkerError."""

    @functools.wraps(function)
    def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        with _as_worker_error():
            return function(*args, **kwargs)

    return call


def generator_for_worker(function: Callable[[], Iterable[_Item]]) -> Callable[[], Iterator[_Item]]:
    """Wrap a generator function for workers so that it raises WorkerError."""

    def generate() -> Iterator[_Item]:
        with _as_worker_error():
            yield from function()

    return generate


def class_for_worker(kind: type) -> type:
    """Subclass of the same name for actors whose calls raise WorkerError, also if the constructor failed."""

    class ForWorker(kind):  # type: ignore[misc]
        def __init__(self, *args: object, **kwargs: object) -> None:
            self._constructor_error: Exception | None = None
            try:
                super().__init__(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  Raised by the first call.
                self._constructor_error = error

        def __call__(self, *args: object, **kwargs: object) -> object:
            with _as_worker_error():
                if self._constructor_error is not None:
                    raise self._constructor_error
                return super().__call__(*args, **kwargs)

    ForWorker.__name__, ForWorker.__qualname__ = kind.__name__, kind.__qualname__
    return ForWorker


@contextmanager
def original_errors() -> Iterator[None]:
    """Replace a RayTaskError by the exception that the worker raised; see `original_error`.

    The exception does not keep the actors of a failed dataset alive.
    """
    from ray.exceptions import RayTaskError

    try:
        yield
    except RayTaskError as error:
        clear_frames(error)
        raise original_error(error) from error


@contextmanager
def original_train_errors() -> Iterator[None]:
    """As `original_errors`, for `fit` of a trainer; prefers a RayviewError if several workers failed."""
    from ray.train import WorkerGroupError

    try:
        yield
    except WorkerGroupError as error:
        failures = [original_error(failure) for failure in error.worker_failures.values()]
        raise next((f for f in failures if isinstance(f, RayviewError)), failures[0]) from error


def original_error(error: Exception) -> Exception:
    """The exception that a worker raised, without Ray's wrappers: a RayviewError, or else a WorkerError."""
    from ray.exceptions import RayTaskError

    while isinstance(error, RayTaskError):
        error = error.cause
    if isinstance(error, WorkerError):
        return error.error or error
    return WorkerError(summarize(error))


def clear_frames(error: BaseException) -> None:
    """Clear the local variables of the frames that an exception keeps alive; it can still be printed.

    Ray Data stops an actor when the last reference to it is gone. Frames of a failed or interrupted dataset
    refer to its actors: as long as their exception is kept, the actors keep their CPUs and GPUs.
    """
    pending, seen = [error], {id(error)}
    while pending:
        error = pending.pop()
        traceback.clear_frames(error.__traceback__)
        if error.__suppress_context__:
            # It is not printed. Its frames have callers, which are not in a traceback.
            error.__context__ = None
        linked = [e for e in (error.__cause__, error.__context__) if e is not None and id(e) not in seen]
        seen.update(map(id, linked))
        pending += linked
