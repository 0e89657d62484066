"""Training loop in plain PyTorch, the same on every worker."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from itertools import islice

import numpy as np
import torch

from pipeline.model.hub import resolve_model
from pipeline.model.load import load_with_new_head, pad_token_id
from pipeline.train.average import WeightAverage
from pipeline.train.batches import PLACEHOLDER, Batch, Epoch
from pipeline.train.evaluation import validate
from pipeline.train.forward import PaddedForward
from pipeline.train.objective import row_losses
from pipeline.train.optimizer import learning_rate, make_optimizer, set_learning_rate
from pipeline.train.parallel import Workers
from pipeline.train.seeds import derive_seed
from pipeline.train.task import TrainState, TrainTask


class Trainer:
    """Model, optimizer and run state of one worker."""

    def __init__(
        self,
        task: TrainTask,
        workers: Workers,
        *,
        save: Callable[[Trainer], None],
        report_progress: Callable[[str, TrainState], None],
    ) -> None:
        """Load the model, with the same weights on every worker.

        Args:
            save: writes a checkpoint; all workers call it after the same step.
            report_progress: called with the phase (empty while training) and the state.
        """
        self.task, self.workers = task, workers
        self._save, self._report_progress = save, report_progress
        seed = derive_seed(task.config.seed, "head") % 2**32
        # The unwrapped model, which holds the weights.
        self.model, new = load_with_new_head(resolve_model(task.model), task.labels, seed=seed)
        self._wrapped = workers.wrap(self.model)
        pad_id = pad_token_id(self.model)
        self._forward = PaddedForward(pad_id, task.max_length, task.precision, workers.device)
        self.optimizer = make_optimizer(self.model, new, task.config)
        decay = task.config.average_decay
        self.average = WeightAverage(self.model, decay) if decay else None
        self.state = TrainState()
        self.best: dict[str, torch.Tensor] = {}
        """Weights of the best epoch so far, on the CPU of rank 0; empty on other ranks."""

    def run(self) -> None:
        """Train to the end, with a checkpoint after every epoch."""
        while not self.state.is_finished(self.task):
            start = time.monotonic()
            train_loss = self.train_epoch()
            with self.average.swapped_in() if self.average else contextlib.nullcontext():
                self._close_epoch(train_loss, start)
            self._save(self)

    def train_epoch(self) -> float:
        """Take the remaining steps of the current epoch; returns the mean loss of the epoch's rows."""
        task, state = self.task, self.state
        self._wrapped.train()
        batch_rows, before = task.config.global_batch_rows, state.epoch * task.epoch_steps
        last = min(task.epoch_steps, task.total_steps - before)
        epoch = Epoch(task.train_groups, batch_rows, task.config.seed, state.epoch)
        first = state.step - before
        batches = epoch.batches(self.workers.rank, self.workers.world, first=first)
        # Loss of this worker since the last checkpoint.
        loss = 0.0
        for batch in islice(batches, last - first):
            loss += self.step(batch)
            self._report_progress("", state)
            if task.saves_within_epoch(state.step):
                self._add_loss(loss)
                loss = 0.0
                self._save(self)
        self._add_loss(loss)
        return state.epoch_loss / min(last * batch_rows, task.train_rows)

    def step(self, batch: Batch) -> float:
        """Take one optimizer step; returns the sum of the losses of this worker's rows."""
        config, state = self.task.config, self.state
        # Seeded in every step, so that a resumed run draws the same dropout masks.
        torch.manual_seed(derive_seed(config.seed, "dropout", state.step, self.workers.rank) % 2**32)
        # The other workers wait for the gradients of this one, so without rows it computes one with weight 0.
        weight, mine = (1.0, batch) if len(batch.numbers) else (0.0, PLACEHOLDER)
        set_learning_rate(self.optimizer, learning_rate(state.step, self.task.total_steps, config))
        loss = row_losses(*self._forward(self._wrapped, mine.rows, mine.numbers)).sum() * weight
        self.workers.backward(loss, batch.global_rows)
        self.workers.clip_gradients(self.model, config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(state.step)
        state.step += 1
        return float(loss.detach())

    def evaluate(self) -> dict[str, float]:
        """Metrics of the current weights on the validation split; see `validate`."""
        return validate(self.model, self._forward, self.task.val_parts, len(self.task.labels), self.workers)

    def _close_epoch(self, train_loss: float, start: float) -> None:
        state = self.state
        self._report_progress("validating", state)
        entry = {"epoch": state.epoch, "step": state.step, "train_loss": train_loss, **self.evaluate()}
        if state.close_epoch(entry | {"seconds": time.monotonic() - start}, self.task.config.best_by):
            self.best = self.workers.full_state(self.model)
        self._report_progress("", state)

    def _add_loss(self, loss: float) -> None:
        self.state.epoch_loss += float(self.workers.sum(np.array(loss)))
