"""The training loop in one process without Ray: epochs, selection, checkpoints, metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.train.batches import Epoch, read_rows, to_rows
from pipeline.train.checkpoint import restore_checkpoint, write_checkpoint
from pipeline.train.objective import row_losses
from pipeline.train.parallel import Workers
from pipeline.train.task import TrainState, TrainTask
from pipeline.train.trainer import Trainer
from tests.train.golden import write_golden
from tests.train.test_golden import LOSSES, VALIDATION

ALONE = Workers(rank=0, world=1, device=torch.device("cpu"))
EPOCH_STEPS = 10


def ignore(*_: object) -> None: ...


def make_trainer(task: TrainTask, save: Callable[[Trainer], None] = ignore, **settings: Any) -> Trainer:
    """A trainer of a task with other settings."""
    config = task.config.model_copy(update=settings)
    return Trainer(replace(task, config=config), ALONE, save=save, report_progress=ignore)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TrainTask:
    return write_golden(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def dropout_task(tmp_path_factory: pytest.TempPathFactory) -> TrainTask:
    return write_golden(tmp_path_factory.mktemp("dropout"), dropout=0.1)


def test_history_has_the_metrics_of_each_epoch(task: TrainTask) -> None:
    trainer = make_trainer(task)
    trainer.run()
    history = trainer.state.history
    assert [(entry["epoch"], entry["step"]) for entry in history] == [(0, 10), (1, 20), (2, 30)]
    for epoch, entry in enumerate(history):
        losses = LOSSES[epoch * EPOCH_STEPS : (epoch + 1) * EPOCH_STEPS]
        assert entry["train_loss"] == pytest.approx(sum(losses) / task.train_rows, rel=1e-4)
    assert {name: history[-1][name] for name in VALIDATION} == pytest.approx(VALIDATION, rel=1e-4)


def test_max_steps_ends_a_run_within_an_epoch(task: TrainTask) -> None:
    trainer = make_trainer(task, max_steps=14)
    trainer.run()
    assert [entry["step"] for entry in trainer.state.history] == [10, 14]
    stepwise = make_trainer(task, max_steps=14)
    rows, seed = task.config.global_batch_rows, task.config.seed
    losses = [
        stepwise.step(batch)
        for epoch in (0, 1)
        for batch in Epoch(task.train_groups, rows, seed, epoch).batches(0, 1)
        if stepwise.state.step < 14
    ]
    # The mean over the rows of the last four steps, all with full batches.
    expected = sum(losses[10:]) / (4 * rows)
    assert trainer.state.history[-1]["train_loss"] == pytest.approx(expected)


@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_best_weights_are_those_that_were_validated(task: TrainTask, average_decay: float) -> None:
    trainer = make_trainer(task, best_by="last", average_decay=average_decay)
    trainer.run()
    weights = trainer.average.average if trainer.average else dict(trainer.model.named_parameters())
    assert trainer.state.best_epoch == 2
    assert all(torch.equal(trainer.best[name], value) for name, value in weights.items())
    assert trainer.best.keys() == trainer.model.state_dict().keys()


def test_best_epoch_is_kept_while_later_ones_are_worse(task: TrainTask) -> None:
    weights: list[torch.Tensor] = []

    def save(trainer: Trainer) -> None:
        weights.append(trainer.model.classifier.weight.detach().clone())

    settings = {"best_by": "accuracy", "average_decay": 0.0, "learning_rate": 0.05}
    trainer = make_trainer(task, save, epochs=6, early_stopping_epochs=9, **settings)
    trainer.run()
    best = trainer.state.best_epoch
    # argmax returns the first of equal values, as does the trainer.
    assert best == int(np.argmax([entry["val_accuracy"] for entry in trainer.state.history])) < 5
    assert torch.equal(trainer.best["classifier.weight"], weights[best])
    assert not torch.equal(weights[best], weights[-1])


def test_run_without_improvement_stops(task: TrainTask) -> None:
    trainer = make_trainer(task, learning_rate=1e-30, epochs=9, early_stopping_epochs=2)
    trainer.run()
    assert (trainer.state.epoch, trainer.state.best_epoch) == (3, 0)
    assert trainer.state.is_finished(trainer.task)


@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_resumed_run_ends_with_identical_weights(
    dropout_task: TrainTask, average_decay: float, tmp_path: Path
) -> None:
    def save(trainer: Trainer) -> None:
        folder = tmp_path / str(trainer.state.step)
        folder.mkdir()
        write_checkpoint(trainer, folder)

    settings = {"average_decay": average_decay, "checkpoint_every_steps": 4}
    whole = make_trainer(dropout_task, save, **settings)
    whole.run()
    assert sorted(int(f.name) for f in tmp_path.iterdir()) == [4, 8, 10, 12, 16, 20, 24, 28, 30]
    # Within the first epoch, within a later one, and between two epochs.
    for step in (4, 16, 20):
        resumed = make_trainer(dropout_task, **settings)
        restore_checkpoint(resumed, tmp_path / str(step))
        assert resumed.state.step == step
        resumed.run()
        assert without_seconds(resumed.state) == without_seconds(whole.state)
        for one, other in (
            (resumed.model.state_dict(), whole.model.state_dict()),
            (resumed.best, whole.best),
        ):
            assert all(torch.equal(value, other[name]) for name, value in one.items())
            assert one.keys() == other.keys()


def without_seconds(state: TrainState) -> list[dict[str, float]]:
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in state.history]


def test_validation_metrics_equal_those_of_a_plain_loop(task: TrainTask) -> None:
    from sklearn import metrics as sk

    trainer = make_trainer(task)
    found = trainer.evaluate()
    rows = to_rows(pa.concat_tables(read_rows(task.val_parts)))
    with torch.inference_mode():
        logits = [
            trainer.model(torch.tensor(rows.ids.values[start:stop][None].astype(np.int64))).logits[0]
            for start, stop in zip(rows.ids.offsets[:-1], rows.ids.offsets[1:], strict=True)
        ]
    logits = torch.stack(logits)
    predicted = logits.argmax(1).numpy()
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(rows.labels))
    assert found == pytest.approx(
        {
            "val_loss": loss.item(),
            "val_accuracy": (predicted == rows.labels).mean(),
            "val_macro_f1": sk.f1_score(rows.labels, predicted, average="macro", labels=range(3)),
            "val_weighted_f1": sk.f1_score(rows.labels, predicted, average="weighted"),
        },
        rel=1e-5,
    )


def test_row_loss_is_the_negative_log_probability_of_the_label() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [2.0, -1.0, 0.5], [80.0, 0.0, -80.0]])
    labels = torch.tensor([2, 0, 1])
    expected = -logits.double().softmax(1)[torch.arange(3), labels].log()
    torch.testing.assert_close(row_losses(logits, labels).double(), expected)
