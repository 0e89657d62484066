"""Options and output of `jobs.bench`, shared by all benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.errors import SettingError

_ROWS = 1_000_000
_SCORE_ROWS = {"cpu": 16_000, "gpu": 1_000_000}

Calls = dict[str, tuple[str, dict[str, Any]]]
"""Contender → function that runs it, and its arguments; see rounds.run_rounds."""

Entries = list[dict[str, Any]]
"""Results for `jobs.bench --json`; see rounds.results."""


@dataclass(frozen=True)
class Output:
    """Functions that print results and progress messages, one line per call."""

    print: Callable[[str], None]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """Options of `jobs.bench`."""

    run_dir: str
    requested_rows: int | None
    rounds: int
    input_file: str | None = None
    requested_device: str | None = None
    requested_model: str | None = None
    minutes: int = 60
    """Duration of the simulated job of the benchmark backlog."""
    only: str | None = None
    """For ingest, score and train: run the first contender, and those whose name contains this text."""

    def select(self, calls: Calls) -> Calls:
        """Contenders to run; the first is rayview, with which the others are compared.

        Raises:
            SettingError: no other contender matches `only`.
        """
        ours, *others = calls
        selected = [name for name in others if (self.only or "") in name]
        if not selected:
            raise SettingError(f"--only {self.only}: matches no contender; contenders: {'; '.join(others)}")
        return {name: calls[name] for name in (ours, *selected)}

    @property
    def rows(self) -> int:
        """Number of reviews, except for the benchmarks score, families and train."""
        return self.requested_rows or _ROWS

    @property
    def score_rows(self) -> int:
        """Number of reviews to score."""
        return self.requested_rows or _SCORE_ROWS[self.device]

    @property
    def device(self) -> str:
        """`cpu` or `gpu`: the requested device, or the GPU if this machine has one."""
        from pipeline.config import ClusterConfig
        from pipeline.runtime.connect import survey

        return self.requested_device or ("gpu" if survey(ClusterConfig()).gpus else "cpu")

    @property
    def model(self) -> str:
        """Name of the model to score with: the requested one, or the default of the device."""
        from pipeline.benchmarks.models import RANDOM_BASE
        from pipeline.config import DEFAULT_MODEL

        return self.requested_model or (RANDOM_BASE if self.device == "gpu" else DEFAULT_MODEL)
