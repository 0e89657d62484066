"""Execution of functions on workers, outside a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar

from pipeline.runtime.pools import Pool
from pipeline.runtime.worker_errors import for_worker, original_errors

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def run_once(
    pool: Pool,
    function: Callable[_Parameters, _Result],
    *args: _Parameters.args,
    **kwargs: _Parameters.kwargs,
) -> _Result:
    """Result of a function that runs on a worker with the resources of one pool member.

    Raises:
        RayviewError: the function raised it.
        WorkerError: the function raised another exception.
    """
    import ray

    # With max_calls=1 the process exits after the call, which frees its GPU memory.
    task = ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus, max_calls=1)(for_worker(function))
    with original_errors():
        return ray.get(task.remote(*args, **kwargs))  # type: ignore[no-any-return]


def run_each(
    pool: Pool, function: Callable[..., _Result], calls: Iterable[tuple[object, ...]]
) -> Iterator[_Result]:
    """Results of several calls of a function on workers, in order of completion.

    Args:
        pool: each call has the resources of one member.
        calls: the arguments of each call.
    Raises:
        RayviewError, WorkerError: as for `run_once`.
    """
    import ray

    task = ray.remote(num_cpus=pool.cpus)(for_worker(function))
    pending = [task.remote(*arguments) for arguments in calls]
    while pending:
        done, pending = ray.wait(pending, num_returns=1)
        with original_errors():
            result = ray.get(done[0])
        yield result
