"""Errors of workers reach the driver: a RayviewError unchanged, others with their type and message."""

from __future__ import annotations

import inspect
import logging
import pickle
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.failures import explain
from pipeline import errors
from pipeline.errors import ModelError, RayviewError
from pipeline.runtime.pools import Cluster, Pool
from pipeline.runtime.ray_data import iter_tables, map_batches, task_dataset
from pipeline.runtime.tasks import run_each, run_once
from pipeline.runtime.worker_errors import (
    WorkerError,
    class_for_worker,
    for_worker,
    generator_for_worker,
    original_error,
    original_train_errors,
)
from tests.commands import ROOT
from tests.runtime.failing import (
    MESSAGE,
    UNKNOWN,
    FailsInCall,
    FailsInConstructor,
    TwoFieldError,
    fail_known,
    fail_unknown,
    read_and_fail,
    read_one,
)

POOL = Pool(1, 0.5)


def read() -> None:
    list(iter_tables(task_dataset([read_and_fail], POOL)))


def map_with(function: Callable[..., pa.Table], calls: int = 1) -> None:
    list(iter_tables(map_batches(task_dataset([read_one], POOL), function, Pool(1, 0.5, calls=calls))))


def wait_for_idle_cpus(timeout_s: float = 60) -> None:
    """Wait until no task and no actor occupies a CPU."""
    import ray

    deadline = time.monotonic() + timeout_s
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"]:
        assert time.monotonic() < deadline, "an actor of the failed dataset still occupies a CPU"
        time.sleep(0.1)


@pytest.mark.ray
@pytest.mark.parametrize(
    "run",
    [
        pytest.param(read, id="read-task"),
        pytest.param(partial(map_with, fail_known), id="map-task"),
        pytest.param(partial(map_with, FailsInCall), id="actor"),
        pytest.param(partial(map_with, FailsInCall, calls=2), id="actor-with-threads"),
        pytest.param(partial(map_with, FailsInConstructor), id="constructor-of-an-actor"),
        pytest.param(lambda: run_once(POOL, fail_known), id="run-once"),
        pytest.param(lambda: list(run_each(POOL, fail_known, [(1,), (2,)])), id="run-each"),
    ],
)
def test_rayview_error_of_a_worker_is_raised_unchanged(
    cluster: Cluster, run: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    # pytest keeps the log records of a test, and those of Ray Data keep tracebacks.
    caplog.set_level(logging.CRITICAL + 1, logger="ray.data")
    with pytest.raises(RayviewError) as raised:
        run()
    assert type(raised.value) is ModelError
    assert str(raised.value) == MESSAGE
    # Although the exception is kept.
    wait_for_idle_cpus()


@pytest.mark.ray
@pytest.mark.parametrize(
    "run",
    [partial(map_with, fail_unknown), lambda: run_once(POOL, fail_unknown)],
    ids=["map-task", "run-once"],
)
def test_other_exception_of_a_worker_keeps_its_type_and_message(
    cluster: Cluster, tmp_path: Path, run: Callable[[], None]
) -> None:
    with pytest.raises(WorkerError) as raised:
        run()
    assert str(raised.value) == UNKNOWN
    log = tmp_path / "log"
    assert explain(raised.value, "score", log) == (f"error: score failed: {UNKNOWN}; the log is {log}", 1)
    # The traceback in the worker.
    assert "in fail_unknown" in log.read_text()


@pytest.mark.parametrize(
    ("failures", "kind", "text"),
    [
        ({0: fail_known}, ModelError, MESSAGE),
        ({0: fail_unknown}, WorkerError, UNKNOWN),
        # A worker that waits for a failed one fails, too.
        ({0: fail_unknown, 1: fail_known}, ModelError, MESSAGE),
    ],
)
def test_error_of_a_group_of_training_workers_is_the_known_one(
    failures: dict[int, Callable[[], object]], kind: type[Exception], text: str
) -> None:
    from ray.train import WorkerGroupError

    errors = {rank: wrapped(for_worker(fail)) for rank, fail in failures.items()}
    with pytest.raises(kind) as raised, original_train_errors():
        raise WorkerGroupError("training failed", errors)
    assert type(raised.value) is kind
    assert str(raised.value) == text


@pytest.mark.ray
@pytest.mark.slow
def test_error_of_a_training_worker_is_raised_unchanged(cluster: Cluster, tmp_path: Path) -> None:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    # The base class of the TorchTrainer; its workers do not import torch.
    trainer = DataParallelTrainer(
        for_worker(fail_known),
        train_loop_config={},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(storage_path=str(tmp_path)),
    )

    def fit() -> None:
        with original_train_errors():
            trainer.fit()

    # In a thread, as in the train stage: in the main thread it replaces the handler of SIGINT permanently.
    with pytest.raises(ModelError) as raised, ThreadPoolExecutor(1) as pool:
        pool.submit(fit).result()
    assert str(raised.value) == MESSAGE


def wrapped(function: Callable[[], object]) -> WorkerError:
    """The error raised by a function for workers, as it arrives at the driver."""
    with pytest.raises(WorkerError) as raised:
        function()
    # Ray Data appends advice to the first argument.
    raised.value.args = (f"{raised.value.args[0]}\nFailed to apply UDF transform",)
    found = pickle.loads(pickle.dumps(raised.value))
    assert isinstance(found, WorkerError)
    return found


@pytest.mark.parametrize("kind", [c for c in vars(errors).values() if inspect.isclass(c)])
def test_each_error_class_arrives_unchanged(kind: type[RayviewError]) -> None:
    def fail() -> None:
        raise kind(MESSAGE)

    found = original_error(wrapped(for_worker(fail)))
    assert type(found) is kind
    assert str(found) == MESSAGE


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("k"), "KeyError: 'k'"),
        (ValueError(), "ValueError"),
        (pa.ArrowInvalid("not valid\nmore"), "pyarrow.lib.ArrowInvalid: not valid"),
        (TwoFieldError(1, 2), UNKNOWN),
    ],
)
def test_other_exception_arrives_as_its_type_and_first_line(error: Exception, text: str) -> None:
    def fail() -> None:
        raise error

    assert str(original_error(wrapped(for_worker(fail)))) == text


def test_generator_for_workers_yields_until_it_fails() -> None:
    tables = generator_for_worker(read_and_fail)()
    assert next(tables).num_rows == 1
    assert str(original_error(wrapped(lambda: next(tables)))) == MESSAGE


def test_functions_and_classes_for_workers_keep_their_names() -> None:
    # Ray shows these names in the titles of its processes.
    assert for_worker(fail_known).__name__ == "fail_known"
    assert class_for_worker(FailsInCall).__name__ == "FailsInCall"


def test_only_known_modules_collect_results_of_workers() -> None:
    """Other modules would not unwrap the errors of workers."""
    collects = re.compile(r"ray\.(get|wait)\(|iter_batches\(.*batch_format=|\.(take_all|materialize)\(")
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("pipeline", "jobs")
        for path in (ROOT / package).rglob("*.py")
        if "benchmarks" not in path.parts and collects.search(path.read_text(encoding="utf-8"))
    }
    # train/stage.py reads the progress from an actor whose methods do not fail.
    assert found == {
        "pipeline/runtime/ray_data.py",
        "pipeline/runtime/tasks.py",
        "pipeline/train/stage.py",
    }
