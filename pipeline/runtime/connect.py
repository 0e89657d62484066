"""Connection to a Ray cluster, or to a Ray that is started on this machine."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import ClusterConfig
from pipeline.errors import ClusterError
from pipeline.runtime import ray_internals
from pipeline.runtime.pools import Cluster, Node
from pipeline.storage.location import Location

if TYPE_CHECKING:
    import psutil

_CONNECT_TIMEOUT_S = 10

_START_TIMEOUT_S = 180
"""Time limit for the second attempt to start Ray. The first has Ray's default of 30 s, which a busy machine
exceeds."""

_log = logging.getLogger(__name__)


def connect(config: ClusterConfig, say: Callable[[str], None] = _log.warning) -> Cluster:
    """Join the configured or running cluster, or start Ray on this machine.

    Args:
        say: receives one line if Ray has to be started a second time.
    Raises:
        ClusterError: the cluster cannot be reached or rejects this process, Ray does not start, or no node
            has CPUs.
    """
    import ray

    if not ray.is_initialized():
        _initialize(config, say)
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    usable = tuple(Node(n["CPU"], n.get("GPU", 0.0)) for n in nodes if n.get("CPU", 0) > 0)
    if not usable:
        raise ClusterError("the Ray cluster has no node with CPUs; start one with `ray start`")
    types = {key.partition(":")[2] for n in nodes for key in n if key.startswith("accelerator_type:")}
    return Cluster(usable, tuple(sorted(types)))


def survey(config: ClusterConfig) -> Cluster:
    """The cluster that `connect` would return; does not start Ray."""
    if ray_internals.find_address(config.address) is not None:
        return connect(config)
    cpus, gpus = ray_internals.local_resources()
    return Cluster((Node(config.num_cpus or cpus, gpus),))


def check_shared(locations: Iterable[Location], cluster: Cluster, config: ClusterConfig) -> None:
    """Check that every node can access the inputs and outputs of the job.

    Raises:
        ClusterError: the cluster has several nodes, and a local path is outside `cluster.storage_path`.
    """
    if len(cluster.nodes) == 1:
        return
    shared = config.storage_path
    for location in locations:
        inside = shared is not None and f"{location.path}/".startswith(f"{shared.rstrip('/')}/")
        if location.is_local and not inside:
            raise ClusterError(
                f"{location.uri}: a path on this machine, but the cluster has {len(cluster.nodes)} nodes; use"
                " s3:// or another store, or a folder that all nodes share, named with"
                " --set cluster.storage_path=FOLDER"
            )


def _initialize(config: ClusterConfig, say: Callable[[str], None]) -> None:
    import ray
    from ray.exceptions import RayError

    options: dict[str, object] = {"log_to_driver": False, "logging_level": logging.WARNING}
    options |= {"configure_logging": True, "ignore_reinit_error": True}
    try:
        address = ray_internals.find_address(config.address)
        if address is None:
            options |= {"address": "local", "include_dashboard": False, "num_cpus": config.num_cpus}
            _start_ray(options | ray_internals.START_OPTIONS, say)
        else:
            _check_reachable(address)
            _authenticate(address)
            ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        where = config.address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise ClusterError(
            f"Ray at {where}: cannot be reached or started: {_first_line(error)}; see `ray status`, or unset"
            " RAY_ADDRESS and cluster.address to start Ray here"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at the address; ray.init itself would retry for minutes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S):
        pass


def _authenticate(address: str) -> None:
    """Use the user's token if the cluster requires one.

    Only then, because a driver with a token rejects the calls of workers that have none, and waits forever
    for the first item of a generator.

    Raises:
        ClusterError: there is no token, or the cluster rejects it.
    """
    if ray_internals.is_accepted(address):
        return
    found = ray_internals.use_token()
    if found and ray_internals.is_accepted(address):
        return
    problem = "rejects the authentication token" if found else "requires an authentication token"
    raise ClusterError(
        f"Ray at {address}: {problem}; copy the token of its head node to ~/.ray/auth_token, or to a file"
        " named by RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token"
    )


def _start_ray(options: Mapping[str, object], say: Callable[[str], None]) -> None:
    """Start Ray on this machine; on failure, retry once with a longer time limit.

    Raises:
        RuntimeError: the second attempt failed, too.
        ValueError: an option is invalid.
    """
    import ray

    before, start = set(_ray_processes()), time.monotonic()
    try:
        ray.init(**options)
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001  If a node is late, Ray raises a plain Exception.
        _log.warning("Ray did not start: %s", error)
    else:
        return
    say(f"Ray did not start within {time.monotonic() - start:.0f} s; retrying once")
    ray.shutdown()
    # Processes of the first attempt would compete with those of the second.
    _kill(set(_ray_processes()) - before)
    try:
        with ray_internals.start_timeout(_START_TIMEOUT_S):
            ray.init(**options)
    except Exception as error:
        _kill(set(_ray_processes()) - before)
        raise RuntimeError(f"{_first_line(error)} (tried twice)") from error


def _ray_processes() -> list[psutil.Process]:
    """Processes of a Ray that this process has started."""
    import psutil
    import ray

    package = str(Path(ray.__file__).parent)
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
