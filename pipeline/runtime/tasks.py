"""Functions that run once on a worker, outside a dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pipeline.runtime.pools import Pool

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def run_once(
    pool: Pool,
    function: Callable[_Parameters, _Result],
    *args: _Parameters.args,
    **kwargs: _Parameters.kwargs,
) -> _Result:
    """What a function returns on a worker that has the resources of a member of a pool."""
    import ray

    # With max_calls=1 the process ends, and with it its use of the GPU's memory.
    task = ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus, max_calls=1)(function)
    return ray.get(task.remote(*args, **kwargs))  # type: ignore[no-any-return]
