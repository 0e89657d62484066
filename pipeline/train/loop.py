"""The training loop: plain PyTorch, run by every Ray Train worker."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import IntArray
from pipeline.config import TrainConfig
from pipeline.metrics.confusion import confusion_matrix, point_metrics
from pipeline.model.hub import resolve_model
from pipeline.model.load import load_classifier, pad_token_id
from pipeline.model.ragged import Ragged, token_budget_batches
from pipeline.model.tensors import to_tensors
from pipeline.train.average import WeightAverage
from pipeline.train.batches import count_steps, epoch_batches, my_part, read_rows, to_rows
from pipeline.train.optimizer import learning_rate, parameter_groups, set_learning_rate
from pipeline.train.seeds import derive_seed

EVAL_BATCH_TOKENS = 8192
BEST_DIRECTORY = "best"
_STATE_FILE = "state.json"
_RESUME_FILE = "resume.pt"
_TELL_EVERY_S = 0.5


@dataclass(frozen=True)
class TrainTask:
    """What a worker needs; plain data."""

    model: str
    labels: list[str]
    max_length: int
    """The most tokens of a row."""
    train_parts: list[str]
    val_parts: list[str]
    train_rows: int
    config: TrainConfig
    precision: str
    threads: int

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps in an epoch."""
        return count_steps(self.train_rows, self.config.global_batch_rows)

    @property
    def total_steps(self) -> int:
        """Optimizer steps in the whole run, early stopping aside."""
        steps = self.epoch_steps * self.config.epochs
        return min(steps, self.config.max_steps or steps)


@dataclass
class TrainState:
    """How far a run is; in every checkpoint."""

    epoch: int = 0
    step: int = 0
    """Optimizer steps done, over all epochs."""
    epoch_loss: float = 0.0
    """Sum of the losses of this epoch's rows, of all workers, up to the last checkpoint."""
    best_epoch: int = -1
    best_worth: float = float("-inf")
    """What the best epoch is worth; see `_worth`."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry an epoch: epoch, step, train_loss, val_loss, val_accuracy …, seconds."""

    def is_finished(self, task: TrainTask) -> bool:
        """Whether all steps are done, or no epoch was better for too long."""
        stale = self.epoch - 1 - self.best_epoch
        patience = task.config.early_stopping_epochs
        return self.step >= task.total_steps or (self.best_epoch >= 0 and stale >= patience)


def train_worker(options: dict[str, Any]) -> None:
    """Run by Ray Train in each worker: `options` holds the task and the board for progress."""
    import torch
    from ray import train
    from ray.train.torch import get_device, prepare_model

    torch.set_num_threads(options["task"].threads)
    context = train.get_context()
    worker = Worker(
        options["task"],
        context.get_world_rank(),
        context.get_world_size(),
        options.get("board"),
        device=get_device(),
        wrap=prepare_model,
    )
    checkpoint = train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            worker.restore(Path(directory))
    worker.run()


class Worker:
    """One worker's model, optimizer and place in the run."""

    def __init__(
        self, task: TrainTask, rank: int, world: int, board: Any, *, device: Any, wrap: Callable[[Any], Any]
    ) -> None:
        """`wrap` moves the model to `device` and makes its workers share their gradients."""
        import torch

        self.task, self.rank, self.world, self.board = task, rank, world, board
        self.device = device
        seed = derive_seed(task.config.seed, "head") % 2**32
        self.bare = load_classifier(resolve_model(task.model), task.labels, seed=seed)
        self.pad_id = pad_token_id(self.bare)
        self.model = wrap(self.bare)
        # One pass over the weights, not ten: a quarter more steps a second on a CPU.
        self.optimizer = torch.optim.AdamW(parameter_groups(self.bare, task.config), fused=True)
        decay = task.config.average_decay
        self.average = WeightAverage(self.bare, decay) if decay else None
        self.state = TrainState()
        self.best: dict[str, Any] = {}
        self._told = 0.0

    def run(self) -> None:
        """Train to the end, with a checkpoint after every epoch."""
        while not self.state.is_finished(self.task):
            start = time.monotonic()
            train_loss = self._train_epoch()
            with self.average.swapped_in() if self.average else contextlib.nullcontext():
                self._close_epoch(train_loss, self.evaluate(), time.monotonic() - start)
            self.save()

    def _train_epoch(self) -> float:
        config, state = self.task.config, self.state
        self.model.train()
        done = state.step - state.epoch * self.task.epoch_steps
        # Of this worker, since the last checkpoint.
        loss, rows_seen = 0.0, 0
        batches = epoch_batches(self.task.train_parts, config.global_batch_rows, config.seed, state.epoch)
        for index, (rows, batch) in enumerate(batches):
            if state.step >= self.task.total_steps:
                break
            rows_seen += len(batch)
            if index < done:
                continue
            loss += self.step(rows.ids, rows.labels, batch)
            state.step += 1
            self._tell()
            every = config.checkpoint_every_steps
            if every and state.step % every == 0 and index + 1 < self.task.epoch_steps:
                state.epoch_loss += self._sum_up(loss)
                loss = 0.0
                self.save()
        state.epoch_loss += self._sum_up(loss)
        return state.epoch_loss / max(1, rows_seen)

    def step(self, ids: Ragged, labels: IntArray, batch: IntArray) -> float:
        """One optimizer step; returns the sum of this worker's losses, one a row."""
        import torch

        config = self.task.config
        # Reseeded every step, so that a run that was cut off goes on with the same dropout masks.
        torch.manual_seed(derive_seed(config.seed, "dropout", self.state.step, self.rank) % 2**32)
        mine = my_part(batch, self.rank, self.world)
        weight = float(len(mine) > 0)
        if not weight:
            # The others wait for this worker's gradients: it computes a row, and counts it as nothing.
            mine = batch[:1]
        rate = learning_rate(self.state.step, self.task.total_steps, config)
        set_learning_rate(self.optimizer, rate)
        losses = self._losses(ids, labels, mine).sum() * weight
        # DDP averages over workers; times `world` makes the sum over workers, over rows the mean.
        (losses * (self.world / len(batch))).backward()
        torch.nn.utils.clip_grad_norm_(self.bare.parameters(), config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update(self.state.step)
        return float(losses.detach())

    def _losses(self, ids: Ragged, labels: IntArray, rows: IntArray) -> Any:
        import torch

        logits = self._logits(self.model, ids, rows)
        target = torch.from_numpy(labels[rows]).to(self.device)
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")

    def _logits(self, model: Any, ids: Ragged, rows: IntArray) -> Any:
        """(B, C) float32 for some rows."""
        inputs = to_tensors(*ids.pad(rows, self.pad_id, self.task.max_length), str(self.device))
        with autocast(self.device.type, self.task.precision):
            return model(**inputs).logits.float()

    def evaluate(self) -> dict[str, float]:
        """Figures of the validation split; every row counts once, for any number of workers."""
        import torch

        self.model.eval()
        classes = len(self.task.labels)
        # Float64 holds counts and the loss alike, so that one sum over workers does.
        sums = np.zeros(classes**2 + 1)
        with torch.inference_mode():
            for table in read_rows(self.task.val_parts[self.rank :: self.world]):
                rows = to_rows(table)
                for batch in token_budget_batches(rows.ids.lengths, EVAL_BATCH_TOKENS, self.task.max_length):
                    # The bare model: DDP would sync buffers, and workers have unequal numbers of batches.
                    logits = self._logits(self.bare, rows.ids, batch)
                    target = torch.from_numpy(rows.labels[batch]).to(self.device)
                    sums[-1] += float(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
                    predicted = logits.argmax(1).cpu().numpy()
                    sums[:-1] += confusion_matrix(rows.labels[batch], predicted, classes).ravel()
        sums = self._sum_up(sums)
        confusion = sums[:-1].astype(np.int64).reshape(classes, classes)
        figures = point_metrics(confusion)
        loss = float(sums[-1] / confusion.sum())
        return {"val_loss": loss, **{f"val_{n}": figures[n] for n in ("accuracy", "macro_f1", "weighted_f1")}}

    def _sum_up(self, values: Any) -> Any:
        """The sum over all workers of a number, or of each number of an array; float64."""
        if self.world == 1:
            return values
        import torch

        tensor = torch.as_tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(tensor)
        return tensor.cpu().numpy() if tensor.ndim else tensor.item()

    def _close_epoch(self, train_loss: float, val: dict[str, float], seconds: float) -> None:
        state = self.state
        entry = {
            "epoch": state.epoch,
            "step": state.step,
            "train_loss": train_loss,
            **val,
            "seconds": seconds,
        }
        state.history.append(entry)
        worth = _worth(entry, self.task.config.best_by)
        if worth > state.best_worth:
            state.best_epoch, state.best_worth = state.epoch, worth
            self.best = {n: t.detach().to("cpu", copy=True) for n, t in self.bare.state_dict().items()}
        state.epoch += 1
        state.epoch_loss = 0.0
        self._tell(force=True)

    def save(self) -> None:
        """Report a checkpoint: the best model so far, and all that is needed to go on."""
        from ray import train

        metrics = self.state.history[-1] if self.state.history else {"step": self.state.step}
        if self.rank != 0:
            train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as directory:
            self.write(Path(directory))
            train.report(metrics, checkpoint=train.Checkpoint.from_directory(directory))

    def write(self, directory: Path) -> None:
        """Write a checkpoint's files."""
        import torch

        (directory / _STATE_FILE).write_text(json.dumps(asdict(self.state)), encoding="utf-8")
        resume = {"model": self.bare.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.average:
            resume["average"] = self.average.average
        torch.save(resume, directory / _RESUME_FILE)
        if self.best:
            self.bare.save_pretrained(directory / BEST_DIRECTORY, state_dict=self.best)

    def restore(self, directory: Path) -> None:
        """Go on from a checkpoint's files."""
        import torch
        from safetensors.torch import load_file

        self.state = TrainState(**json.loads((directory / _STATE_FILE).read_text(encoding="utf-8")))
        resume = torch.load(directory / _RESUME_FILE, map_location=self.device, weights_only=True)
        self.bare.load_state_dict(resume["model"])
        self.optimizer.load_state_dict(resume["optimizer"])
        if self.average:
            self.average.restore(resume["average"])
        best = directory / BEST_DIRECTORY / "model.safetensors"
        if best.exists():
            self.best = load_file(best)

    def _tell(self, *, force: bool = False) -> None:
        """Let the driver know how far the run is; never waits for an answer."""
        if (
            self.board is None
            or self.rank != 0
            or (not force and time.monotonic() - self._told < _TELL_EVERY_S)
        ):
            return
        self._told = time.monotonic()
        self.board.put.remote(asdict(self.state))


def _worth(entry: dict[str, float], best_by: str) -> float:
    """What an epoch is worth by the chosen figure: more is better."""
    if best_by == "last":
        return entry["epoch"]
    return -entry["val_loss"] if best_by == "loss" else entry[f"val_{best_by}"]


@contextlib.contextmanager
def autocast(device_type: str, precision: str) -> Iterator[None]:
    """Compute in bfloat16 where it is safe; nothing for float32."""
    import torch

    with torch.autocast(device_type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        yield
