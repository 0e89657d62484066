"""Starting Ray on a busy machine, where the first start may time out."""

from __future__ import annotations

from typing import Any

import pytest
import ray
from ray._private import services

from pipeline.config import ClusterConfig
from pipeline.errors import ClusterError
from pipeline.runtime.connect import connect

LATE = "The current node timed out during startup. This could happen because something failed"
NODE = {"Alive": True, "Resources": {"CPU": 2.0}}
LOCAL = ClusterConfig(address="local")


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The `get_node` function in use at each start of Ray; every start fails."""
    seen: list[Any] = []

    def fail(**options: object) -> None:
        assert options["address"] == "local"
        seen.append(services.get_node)
        raise Exception(f"{LATE}\nand more")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "nodes", lambda: [NODE])
    monkeypatch.setattr(ray, "init", fail)
    # Other tests in this process may share a running Ray.
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return seen


def test_failed_start_is_retried_with_a_longer_timeout(
    starts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = ray.init

    def late(**options: object) -> None:
        if not starts:
            fail(**options)
        starts.append(services.get_node)

    monkeypatch.setattr(ray, "init", late)
    before, said = services.get_node, list[str]()
    assert connect(LOCAL, said.append).cpus == 2
    assert starts[0] is before
    assert starts[1] is not before
    assert services.get_node is before
    assert said == ["Ray did not start within 0 s; retrying once"]


def test_second_start_waits_for_its_node(starts: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [RuntimeError("no such node"), RuntimeError("no such node"), {"node_id": "x"}]

    def get_node(*_: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(services, "get_node", get_node)
    with pytest.raises(ClusterError):
        connect(LOCAL)
    assert starts[1]("address", "node") == {"node_id": "x"}


def test_start_that_fails_twice_is_reported_in_one_line(starts: list[Any]) -> None:
    with pytest.raises(ClusterError) as failed:
        connect(LOCAL)
    assert len(starts) == 2
    said = f"Ray at local: cannot be reached or started: {LATE} (tried twice); see `ray status`"
    assert str(failed.value).startswith(said)
    assert "\n" not in str(failed.value)


def test_start_with_an_invalid_option_is_not_retried(
    starts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        starts.append(None)
        raise ValueError("num_cpus must be positive")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ClusterError, match="num_cpus must be positive"):
        connect(LOCAL)
    assert len(starts) == 1
