"""Several workers, each in its own process, train the same model as one worker."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.train.task import TrainTask
from tests.train.golden import write_golden
from tests.train.ranks import history, train_rank, train_ranks

# The process of this group has a fork server that has loaded the libraries; see tests/train/ranks.py.
pytestmark = pytest.mark.xdist_group("main-job")


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
