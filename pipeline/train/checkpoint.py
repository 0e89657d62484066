"""Checkpoints: the state from which a restarted worker resumes, and the best weights so far."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline.train.task import BEST_DIRECTORY, TrainState
from pipeline.train.trainer import Trainer

_RESUME_FILE = "resume.pt"


def write_checkpoint(trainer: Trainer, directory: Path) -> None:
    """Write the files of a checkpoint; called on rank 0, which has the best weights."""
    trainer.state.write(directory)
    resume = {"model": trainer.model.state_dict(), "optimizer": trainer.optimizer.state_dict()}
    if trainer.average:
        resume["average"] = trainer.average.average
    torch.save(resume, directory / _RESUME_FILE)
    if trainer.best:
        trainer.model.save_pretrained(directory / BEST_DIRECTORY, state_dict=trainer.best)


def restore_checkpoint(trainer: Trainer, directory: Path) -> None:
    """Restore a trainer from a checkpoint; only rank 0 loads the best weights."""
    trainer.state = TrainState.read(directory)
    resume = torch.load(directory / _RESUME_FILE, map_location=trainer.workers.device, weights_only=True)
    trainer.model.load_state_dict(resume["model"])
    trainer.optimizer.load_state_dict(resume["optimizer"])
    if trainer.average:
        trainer.average.restore(resume["average"])
    best = directory / BEST_DIRECTORY / "model.safetensors"
    if trainer.workers.rank == 0 and best.exists():
        trainer.best = load_file(best)
