"""Functions that run on workers, outside a dataset."""

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
    """What a function returns on a worker that has the resources of a member of a pool.

    Raises:
        RayviewError: the function raised it.
        WorkerError: the function raised another exception.
    """
    import ray

    # With max_calls=1 the process ends, and with it its use of the GPU's memory.
    task = ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus, max_calls=1)(for_worker(function))
    with original_errors():
        return ray.get(task.remote(*args, **kwargs))  # type: ignore[no-any-return]


def run_each(
    pool: Pool, function: Callable[..., _Result], calls: Iterable[tuple[object, ...]]
) -> Iterator[_Result]:
    """What a function returns in each of several calls on workers, in order of completion.

    Args:
        pool: a call has the resources of one member.
        calls: the arguments of each.
    Raises:
        RayviewError, WorkerError: as `run_once`.
    """
    import ray

    task = ray.remote(num_cpus=pool.cpus)(for_worker(function))
    pending = [task.remote(*arguments) for arguments in calls]
    while pending:
        done, pending = ray.wait(pending, num_returns=1)
        with original_errors():
            result = ray.get(done[0])
        yield result
