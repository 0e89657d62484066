"""Task of a training worker and state of a run; plain data, without torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from pipeline.config import TrainConfig
from pipeline.errors import OutputError

BEST_DIRECTORY = "best"
"""Folder in a checkpoint with the best weights."""

STATE_FILE = "state.json"
"""File in a checkpoint with the `TrainState`."""

CHECKPOINT_VERSION = 2
"""Version of the content of checkpoints and of the row order of an epoch; version 1 was not recorded."""


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file."""

    part: str
    """URI of the file."""
    number: int
    rows: int


@dataclass(frozen=True)
class TrainTask:
    """Parameters of a training worker."""

    model: str
    """Name or directory of the model to start from."""
    labels: list[str]
    max_length: int
    """Maximum number of tokens in a row."""
    train_groups: list[RowGroup]
    val_parts: list[str]
    """URIs of the Parquet parts of the validation split."""
    config: TrainConfig
    precision: str
    """float32 or bfloat16."""
    threads: int

    @cached_property
    def train_rows(self) -> int:
        """Number of rows in an epoch."""
        return sum(group.rows for group in self.train_groups)

    @property
    def epoch_steps(self) -> int:
        """Number of optimizer steps in an epoch."""
        return -(-self.train_rows // self.config.global_batch_rows)

    @property
    def total_steps(self) -> int:
        """Number of optimizer steps in the whole run, unless it stops early."""
        steps = self.epoch_steps * self.config.epochs
        return min(steps, self.config.max_steps or steps)

    def saves_within_epoch(self, step: int) -> bool:
        """Whether a checkpoint is written within an epoch after optimizer step `step`, counted from 1."""
        every = self.config.checkpoint_every_steps
        return every is not None and step % every == 0 and step % self.epoch_steps != 0


@dataclass
class TrainState:
    """Progress of a run; part of every checkpoint."""

    epoch: int = 0
    """Number of completed epochs."""
    step: int = 0
    """Number of completed optimizer steps, over all epochs."""
    epoch_loss: float = 0.0
    """Sum of the losses of this epoch's rows, over all workers, up to the last checkpoint."""
    best_epoch: int = -1
    best_score: float = float("-inf")
    """`selection_score` of the best epoch."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry per epoch: epoch, step, train_loss, val_loss, val_accuracy …, seconds."""

    def is_finished(self, task: TrainTask) -> bool:
        """Whether all steps are completed, or the last `early_stopping_epochs` epochs were not the best."""
        stale = self.epoch - 1 - self.best_epoch
        patience = task.config.early_stopping_epochs
        return self.step >= task.total_steps or (self.best_epoch >= 0 and stale >= patience)

    def close_epoch(self, entry: dict[str, float], best_by: str) -> bool:
        """Record an epoch and advance to the next; returns whether it is the best so far."""
        score = selection_score(entry, best_by)
        is_best = score > self.best_score
        if is_best:
            self.best_epoch, self.best_score = self.epoch, score
        self.history.append(entry)
        self.epoch += 1
        self.epoch_loss = 0.0
        return is_best

    def describe(self) -> str:
        """Metrics of the last epoch in a few words; empty before the first."""
        if not self.history:
            return ""
        loss, accuracy = (self.history[-1][name] for name in ("val_loss", "val_accuracy"))
        return f"epoch {self.epoch}: val loss {loss:.4f}, val accuracy {accuracy:.3f}"

    def write(self, directory: Path) -> None:
        """Write the state to a checkpoint directory."""
        text = json.dumps({"version": CHECKPOINT_VERSION, **asdict(self)})
        (directory / STATE_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> TrainState:
        """State from a checkpoint directory; see `parse`."""
        return cls.parse((directory / STATE_FILE).read_bytes())

    @classmethod
    def parse(cls, content: bytes) -> TrainState:
        """State from the content of a state file.

        Raises:
            OutputError: a version with a different row order wrote it.
        """
        fields = json.loads(content)
        version = fields.pop("version", 1)
        if version != CHECKPOINT_VERSION:
            raise OutputError(
                f"holds an unfinished training with checkpoints of version {version}, but this rayview"
                f" resumes only version {CHECKPOINT_VERSION}; use --overwrite to start over"
            )
        return cls(**fields)


def selection_score(entry: dict[str, float], best_by: str) -> float:
    """Score of an epoch by the chosen metric; higher is better.

    Args:
        entry: an entry of `TrainState.history`.
        best_by: see `TrainConfig.best_by`.
    """
    if best_by == "last":
        return entry["epoch"]
    return -entry["val_loss"] if best_by == "loss" else entry[f"val_{best_by}"]
