"""Training by several processes without Ray."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import torch

from pipeline.train.parallel import Workers
from pipeline.train.task import TrainState, TrainTask
from pipeline.train.trainer import Trainer

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


def history(out: Path) -> list[dict[str, float]]:
    """The metrics of each epoch, without its duration."""
    entries = TrainState.read(out).history
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries]
