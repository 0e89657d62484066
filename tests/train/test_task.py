"""Steps of a run, selection of the best epoch, and early stopping, without torch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.errors import OutputError
from pipeline.train.task import RowGroup, TrainState, TrainTask, selection_score


def make_task(rows: int = 100, **settings: object) -> TrainTask:
    return TrainTask(
        model="none",
        labels=["a", "b"],
        max_length=8,
        train_groups=[RowGroup("a", 0, rows // 2), RowGroup("a", 1, rows - rows // 2)],
        val_parts=[],
        config=TrainConfig(**{"epochs": 3, "global_batch_rows": 16, **settings}),
        precision="float32",
        threads=1,
    )


@pytest.mark.parametrize(("rows", "batch_rows", "steps"), [(0, 8, 0), (1, 8, 1), (8, 8, 1), (9, 8, 2)])
def test_epoch_may_end_with_a_short_batch(rows: int, batch_rows: int, steps: int) -> None:
    assert make_task(rows, global_batch_rows=batch_rows).epoch_steps == steps


@pytest.mark.parametrize(("max_steps", "steps"), [(None, 21), (5, 5), (21, 21), (99, 21)])
def test_max_steps_shortens_a_run_and_never_extends_it(max_steps: int | None, steps: int) -> None:
    assert make_task(max_steps=max_steps).total_steps == steps


def test_no_checkpoint_within_an_epoch_is_at_its_end() -> None:
    task = make_task(checkpoint_every_steps=3)  # 7 steps per epoch.
    assert [step for step in range(1, 22) if task.saves_within_epoch(step)] == [3, 6, 9, 12, 15, 18]
    assert not any(make_task().saves_within_epoch(step) for step in range(1, 22))


ENTRY = {"epoch": 4, "val_loss": 0.5, "val_accuracy": 0.6, "val_macro_f1": 0.7, "val_weighted_f1": 0.8}


@pytest.mark.parametrize(
    ("best_by", "score"),
    [("loss", -0.5), ("accuracy", 0.6), ("macro_f1", 0.7), ("weighted_f1", 0.8), ("last", 4)],
)
def test_selection_score_is_higher_for_a_better_epoch(best_by: str, score: float) -> None:
    assert selection_score(ENTRY, best_by) == score


def run_epochs(task: TrainTask, losses: list[float], best_by: str = "loss") -> TrainState:
    """Final state of a run whose epochs have these validation losses."""
    state = TrainState()
    for loss in losses:
        if state.is_finished(task):
            break
        entry = {"epoch": state.epoch, "val_loss": loss, "val_accuracy": 1 - loss}
        state.step += task.epoch_steps
        assert state.close_epoch(entry, best_by) == (state.best_epoch == state.epoch - 1)
    return state


@pytest.mark.parametrize(("best_by", "best"), [("loss", 1), ("accuracy", 1), ("last", 3)])
def test_first_of_equally_good_epochs_is_kept(best_by: str, best: int) -> None:
    state = run_epochs(make_task(epochs=4, early_stopping_epochs=9), [0.5, 0.3, 0.3, 0.4], best_by)
    assert (state.epoch, state.best_epoch, len(state.history)) == (4, best, 4)


@pytest.mark.parametrize(("patience", "epochs", "best"), [(1, 2, 0), (2, 5, 2), (3, 6, 2), (9, 7, 6)])
def test_run_stops_after_epochs_without_improvement(patience: int, epochs: int, best: int) -> None:
    losses = [0.5, 0.6, 0.4, 0.4, 0.7, 0.5, 0.1]
    state = run_epochs(make_task(epochs=7, early_stopping_epochs=patience), losses)
    assert (state.epoch, state.best_epoch) == (epochs, best)


def test_run_that_keeps_the_last_epoch_never_stops_early() -> None:
    task = make_task(epochs=4, early_stopping_epochs=1)
    assert run_epochs(task, [0.1, 0.2, 0.3, 0.4], "last").epoch == 4


def test_state_describes_its_last_epoch() -> None:
    assert TrainState().describe() == ""
    assert run_epochs(make_task(), [0.5, 0.25]).describe() == "epoch 2: val loss 0.2500, val accuracy 0.750"


def test_state_round_trips_through_its_file(tmp_path: Path) -> None:
    state = run_epochs(make_task(), [0.5, 0.3])
    state.step, state.epoch_loss = 17, 1 / 3
    state.write(tmp_path)
    assert asdict(TrainState.read(tmp_path)) == asdict(state)


@pytest.mark.parametrize("version", [{}, {"version": 1}, {"version": 3}])
def test_state_of_another_version_is_refused(version: dict[str, int]) -> None:
    content = json.dumps({**version, "step": 3, "best_worth": 0.5}).encode()
    with pytest.raises(OutputError, match=r"version [13], but .* only version 2; use --overwrite"):
        TrainState.parse(content)
