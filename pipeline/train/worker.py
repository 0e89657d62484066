"""Entry point of a Ray Train worker, which connects the training loop to Ray."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from ray import train
from ray.train.torch import get_device

from pipeline.train.checkpoint import restore_checkpoint, write_checkpoint
from pipeline.train.parallel import Workers
from pipeline.train.task import TrainState, TrainTask
from pipeline.train.trainer import Trainer

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_SEND_EVERY_S = 0.5


class WorkerOptions(TypedDict):
    """The `train_loop_config` of Ray Train."""

    task: TrainTask
    progress: ActorHandle
    """A `stage.ProgressActor`."""


def train_worker(options: WorkerOptions) -> None:
    """Train from the last checkpoint, or from the start, to the end."""
    task = options["task"]
    torch.set_num_threads(task.threads)
    context = train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size(), get_device())
    progress = _ProgressSender(options["progress"], workers.rank)
    progress("loading the model")
    trainer = Trainer(task, workers, save=_save, report_progress=progress)
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            restore_checkpoint(trainer, Path(directory))
    progress("taking the first step", trainer.state)
    trainer.run()


def _save(trainer: Trainer) -> None:
    """Report to Ray, with a checkpoint on rank 0; waits for all workers."""
    state = trainer.state
    metrics = state.history[-1] if state.history else {"step": state.step}
    if trainer.workers.rank != 0:
        train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as directory:
        write_checkpoint(trainer, Path(directory))
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(directory))


class _ProgressSender:
    """Sender of rank 0's progress to the driver: every change of phase, and the state every half second."""

    def __init__(self, actor: ActorHandle, rank: int) -> None:
        self._actor, self._rank = actor, rank
        self._sent_at, self._sent_phase = 0.0, ""

    def __call__(self, phase: str, state: TrainState | None = None) -> None:
        """Send without waiting for a reply; see `ProgressActor.put`."""
        now = time.monotonic()
        is_due = phase != self._sent_phase or now - self._sent_at >= _SEND_EVERY_S
        if self._rank == 0 and is_due:
            self._sent_at, self._sent_phase = now, phase
            self._actor.put.remote(phase, state)
