"""The losses of a fixed training run do not change: a refactoring of the loop changes no number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.golden import train_golden

# Printed by `python -m tests.train.golden`, which can also compare two commits bit for bit.
LOSSES = [
    17.57844,
    17.63984,
    17.5588,
    17.49818,
    17.6116,
    17.55221,
    17.33037,
    17.49332,
    17.76658,
    14.19709,
    17.50567,
    17.06171,
    17.56731,
    17.25529,
    17.06314,
    17.04881,
    16.96736,
    16.82806,
    16.81931,
    13.39646,
    16.41748,
    16.19995,
    16.41958,
    16.22908,
    16.48587,
    16.12037,
    16.01268,
    15.65308,
    16.1307,
    12.76093,
]
VALIDATION = {
    "val_loss": 1.024253,
    "val_accuracy": 0.48,
    "val_macro_f1": 0.4223602,
    "val_weighted_f1": 0.3915528,
}


def test_losses_of_30_steps_equal_the_recorded_ones(tmp_path: Path) -> None:
    losses, validation = train_golden(tmp_path)
    assert losses == pytest.approx(LOSSES, rel=1e-4)
    assert validation == pytest.approx(VALIDATION, rel=1e-4)
