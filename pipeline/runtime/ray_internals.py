"""All uses of Ray beyond its public API, except the DataContext fields of Ray Data (ray_data.py).

Any of these names may change in a minor release of Ray. tests/runtime/test_ray_internals.py checks that the
installed release has all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SYSTEM_CONFIG = {"idle_worker_killing_time_threshold_ms": 60_000}
"""Settings of the raylet. By default, a worker process ends after one idle second, so every step of a job
must start new processes: preparing 400 rows took 23 s instead of 1.4 s."""

START_OPTIONS = {"_system_config": SYSTEM_CONFIG}
"""Options of `ray.init` for a Ray that rayview starts."""


def find_address(address: str | None) -> str | None:
    """Address of the cluster to join, as IP:PORT; None if Ray must be started on this machine.

    Args:
        address: setting `cluster.address`; None: RAY_ADDRESS, then a cluster that runs on this machine.
    Raises:
        ValueError: the address is malformed.
    """
    from ray._private.services import canonicalize_bootstrap_address

    return canonicalize_bootstrap_address(address)  # type: ignore[no-any-return]


def local_resources() -> tuple[float, float]:
    """CPUs and GPUs that Ray would detect on this machine; the CPUs respect the limits of a container."""
    from ray._private.accelerators.nvidia_gpu import NvidiaGPUAcceleratorManager
    from ray._private.utils import get_num_cpus

    gpus = NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
    return float(get_num_cpus()), float(gpus)


def is_accepted(address: str) -> bool:
    """Whether a cluster accepts this process; False if it requires an authentication token other than ours.

    `ray.init` cannot determine this: it retries a rejected join for 20 s or more, and then raises the same
    ConnectionError as for a cluster that does not respond.

    Raises:
        ray.exceptions.RpcError: no Ray cluster is listening at this address.
    """
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.exceptions import AuthenticationError

    try:
        GcsClient(address=address)
    except AuthenticationError:
        return False
    return True


def use_token() -> bool:
    """Use the user's authentication token from now on; False if there is none, or RAY_AUTH_MODE forbids it.

    `ray start` does this by itself, but `ray.init` does it only for a cluster that it starts or finds itself.
    """
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available,
    )

    return bool(maybe_enable_token_auth_if_token_available(warn_if_disabled=False))


@contextmanager
def start_timeout(timeout_s: float) -> Iterator[None]:
    """Replace the 30 s that `ray.init` waits for a new node, a constant in Ray's Node."""
    from ray._private import services

    get_node = services.get_node

    def wait_for_node(*arguments: str) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return get_node(*arguments)  # type: ignore[no-any-return]
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    services.get_node = wait_for_node
    try:
        yield
    finally:
        services.get_node = get_node


@dataclass(frozen=True)
class KeyValueTable:
    """Key-value table in Ray's GCS; shared by all processes of the cluster, and outlives the workers."""

    namespace: str

    @property
    def is_available(self) -> bool:
        """Whether this process is connected to Ray."""
        from ray.experimental.internal_kv import _internal_kv_initialized

        return bool(_internal_kv_initialized())

    def get(self, key: str) -> bytes | None:
        """The value of a key; None if it does not exist."""
        from ray.experimental.internal_kv import _internal_kv_get

        return _internal_kv_get(key, namespace=self.namespace)  # type: ignore[no-any-return]

    def put(self, key: str, value: str) -> None:
        """Set or replace the value of a key."""
        from ray.experimental.internal_kv import _internal_kv_put

        _internal_kv_put(key, value, namespace=self.namespace)

    def delete(self, key: str) -> None:
        """Delete a key if it exists."""
        from ray.experimental.internal_kv import _internal_kv_del

        _internal_kv_del(key, namespace=self.namespace)

    def delete_all(self, prefix: str) -> None:
        """Delete all keys that start with a prefix."""
        from ray.experimental.internal_kv import _internal_kv_del

        _internal_kv_del(prefix, del_by_prefix=True, namespace=self.namespace)

    def keys(self) -> list[bytes]:
        """All keys."""
        from ray.experimental.internal_kv import _internal_kv_list

        return list(_internal_kv_list("", namespace=self.namespace))
