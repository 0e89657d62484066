"""Join a Ray cluster, or start Ray on this machine."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pipeline.config import ClusterConfig
from pipeline.errors import ClusterError
from pipeline.runtime.pools import Cluster, Node, Pool
from pipeline.storage.location import Location

if TYPE_CHECKING:
    import psutil


_CONNECT_TIMEOUT_S = 10


_START_TIMEOUT_S = 180
"""Limit for the second attempt to start Ray; the first has Ray's own, 30 s, which a busy machine exceeds."""


_IDLE_WORKER_MS = 60_000
"""How long a process of our own Ray waits for more work. By Ray's default, a second, each step of a job ends
the processes of the one before and starts its own: a prepare of 400 rows then took 23 s in place of 1.4."""


def connect(config: ClusterConfig) -> Cluster:
    """Join the cluster that is named or running, or start Ray on this machine.

    Raises:
        ClusterError: a named cluster cannot be reached, or Ray does not start.
    """
    import ray

    if not ray.is_initialized():
        _initialize(config)
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    usable = tuple(Node(n["CPU"], n.get("GPU", 0.0)) for n in nodes if n.get("CPU", 0) > 0)
    if not usable:
        raise ClusterError("the Ray cluster has no node with CPUs to run on; start one with ray start")
    types = {key.partition(":")[2] for n in nodes for key in n if key.startswith("accelerator_type:")}
    return Cluster(usable, tuple(sorted(types)))


def run_once(pool: Pool, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns on a worker that has the share of a member of a pool; raises what it raises."""
    import ray

    # One call: the process gives back what it holds of the GPU.
    task = ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus, max_calls=1)(function)
    return ray.get(task.remote(*arguments))


def check_shared(locations: list[Location], cluster: Cluster, config: ClusterConfig) -> None:
    """See that every node can reach what the job reads and writes.

    Raises:
        ClusterError: there are several nodes, and a local path is not in `cluster.storage_path`.
    """
    if len(cluster.nodes) == 1:
        return
    shared = config.storage_path
    for location in locations:
        inside = shared is not None and f"{location.path}/".startswith(f"{shared.rstrip('/')}/")
        if location.is_local and not inside:
            raise ClusterError(
                f"{location.uri}: a path on this machine, but the cluster has {len(cluster.nodes)} nodes; use"
                " s3:// or the like, or a folder that all nodes share, named with"
                " --set cluster.storage_path=FOLDER"
            )


def _initialize(config: ClusterConfig) -> None:
    import ray
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available,
    )
    from ray._private.services import canonicalize_bootstrap_address

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    options |= {"configure_logging": True, "ignore_reinit_error": True}
    try:
        found = canonicalize_bootstrap_address(config.address)
        if found is None:
            options |= {"address": "local", "include_dashboard": False, "num_cpus": config.num_cpus}
            options["_system_config"] = {"idle_worker_killing_time_threshold_ms": _IDLE_WORKER_MS}
            _start_ray(options)
        else:
            _check_reachable(found)
            if _asks_for_token(found):
                maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
            ray.init(address=found, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = config.address or os.environ.get("RAY_ADDRESS") or "this machine"
        reason = str(error).strip().partition("\n")[0]
        raise ClusterError(
            f"Ray at {where}: cannot be reached or started: {reason}; see `ray status`, or unset RAY_ADDRESS"
            " and cluster.address to start Ray here"
        ) from None


def _start_ray(options: Mapping[str, Any]) -> None:
    """Start Ray on this machine; where that fails, once more with a longer limit.

    Raises:
        RuntimeError: the second attempt failed too.
    """
    import ray

    before = set(_ray_processes())
    try:
        ray.init(**options)
    except Exception as error:  # noqa: BLE001  Ray raises no class of its own.
        logging.getLogger(__name__).warning("Ray did not start, trying again: %s", error)
    else:
        return
    ray.shutdown()
    # What the first attempt started would compete with the second.
    _kill(set(_ray_processes()) - before)
    try:
        with _longer_start():
            ray.init(**options)
    except Exception as error:
        _kill(set(_ray_processes()) - before)
        raise RuntimeError(f"{str(error).strip().partition(chr(10))[0]} (tried twice)") from error


@contextmanager
def _longer_start() -> Iterator[None]:
    """Raises the limit within which the raylet must appear in the GCS, a constant in Ray's Node."""
    from ray._private import services

    get_node = services.get_node

    def wait_for_node(*arguments: Any) -> Any:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    services.get_node = wait_for_node
    try:
        yield
    finally:
        services.get_node = get_node


def _ray_processes() -> list[psutil.Process]:
    """The processes of a Ray that this process has started."""
    import psutil
    import ray

    package = os.path.dirname(ray.__file__)  # noqa: PTH120
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(argument.startswith(package) for argument in process.cmdline()):
                found.append(process)
    return found


def _kill(processes: Collection[psutil.Process]) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=_CONNECT_TIMEOUT_S)


def _check_reachable(address: str) -> None:
    """Raise OSError if nobody listens there; ray.init itself would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S):
        pass


def _asks_for_token(address: str) -> bool:
    """Whether the cluster takes only those who show a token.

    `ray start` turns tokens on where there is one, but `ray.init` only for a Ray that it starts itself; and
    a driver with a token cannot work with a cluster without. So the cluster is asked, by a call without one.
    """
    import grpc

    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            ask(b"", timeout=_CONNECT_TIMEOUT_S)
        except grpc.RpcError as error:
            return bool(error.code() == grpc.StatusCode.UNAUTHENTICATED)
    return False


def survey(config: ClusterConfig) -> Cluster:
    """The cluster that `connect` would give, without starting Ray where none runs."""
    from ray._private.services import canonicalize_bootstrap_address

    if canonicalize_bootstrap_address(config.address) is not None:
        return connect(config)
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager
    from ray._private.utils import get_num_cpus

    gpus = NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
    return Cluster((Node(config.num_cpus or get_num_cpus(), float(gpus)),))
