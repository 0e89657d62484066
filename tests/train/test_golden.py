"""The losses of a fixed training stay what they were: a refactoring of the loop changes no number."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.golden import train_golden

# Written by `python -m tests.train.golden`; see there for a comparison bit for bit on one machine.
LOSSES = [
    17.59812,
    17.55085,
    17.55615,
    17.63433,
    17.57683,
    17.55716,
    17.5152,
    17.4904,
    17.40815,
    14.07591,
    17.16442,
    17.25208,
    17.11396,
    17.15923,
    17.24698,
    17.39348,
    16.90165,
    16.44969,
    16.64799,
    13.08318,
    16.77782,
    16.14676,
    16.31727,
    15.77307,
    15.82053,
    15.53955,
    15.40941,
    15.35243,
    15.37303,
    12.41942,
]
VALIDATION = {
    "val_loss": 1.003343,
    "val_accuracy": 0.76,
    "val_macro_f1": 0.7647287,
    "val_weighted_f1": 0.7631395,
}


def test_the_losses_of_thirty_steps_are_those_recorded(tmp_path: Path) -> None:
    losses, validation = train_golden(tmp_path)
    assert losses == pytest.approx(LOSSES, rel=1e-4)
    assert validation == pytest.approx(VALIDATION, rel=1e-4)
