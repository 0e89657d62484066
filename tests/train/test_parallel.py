"""Several workers, each in its own process, train the same model as one worker."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch

from pipeline.train.parallel import Workers
from pipeline.train.task import TrainState, TrainTask
from pipeline.train.trainer import Trainer
from tests.train.golden import write_golden

TIMEOUT_S = 120
CPU = torch.device("cpu")


def train_rank(task: TrainTask, out: Path, rank: int, world: int) -> None:
    """Train as one of `world` workers and write the result; joins a process group if there are several."""
    torch.set_num_threads(1)
    if world > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world
        )
    trainer = Trainer(task, Workers(rank, world, CPU), save=lambda _: None, report_progress=lambda *_: None)
    trainer.run()
    mine = out / str(rank)
    mine.mkdir()
    trainer.state.write(mine)
    torch.save({"last": trainer.model.state_dict(), "best": trainer.best}, mine / "weights.pt")
    if world > 1:
        torch.distributed.destroy_process_group()


def train_ranks(task: TrainTask, out: Path, world: int) -> None:
    """Run `train_rank` for all ranks, each in its own process."""
    # The fork server has loaded the libraries and has no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "transformers.models.bert.modeling_bert"])
    processes = [context.Process(target=train_rank, args=(task, out, rank, world)) for rank in range(world)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(TIMEOUT_S)
        assert [process.exitcode for process in processes] == [0] * world
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TrainTask:
    return write_golden(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def alone(task: TrainTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output directory of a single worker."""
    threads, out = torch.get_num_threads(), tmp_path_factory.mktemp("alone")
    train_rank(task, out, 0, 1)
    torch.set_num_threads(threads)
    return out / "0"


def assert_close(weights: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-4, atol=1e-5)


def history(out: Path) -> list[dict[str, float]]:
    """The metrics of each epoch, without its duration."""
    entries = TrainState.read(out).history
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]


# 16 rows per batch, and 13 in the last batch of an epoch: three workers never have equal shares.
@pytest.mark.parametrize("world", [2, 3])
def test_several_workers_train_as_one(world: int, task: TrainTask, alone: Path, tmp_path: Path) -> None:
    train_ranks(task, tmp_path, world)
    expected = torch.load(alone / "weights.pt")
    first = torch.load(tmp_path / "0" / "weights.pt")
    for mine, one in zip(history(tmp_path / "0"), history(alone), strict=True):
        assert mine == pytest.approx(one, rel=1e-4)
    assert_close(first["last"], expected["last"])
    assert_close(first["best"], expected["best"])
    for rank in range(1, world):
        weights = torch.load(tmp_path / str(rank) / "weights.pt")
        assert all(torch.equal(weights["last"][name], value) for name, value in first["last"].items())
        # Only rank 0 writes the model.
        assert weights["best"] == {}
        assert history(tmp_path / str(rank)) == history(tmp_path / "0")
