"""What a long job finds out about its device before it begins, on the first rows of its input.

How many tokens a batch should hold, and whether compiling or our own kernels pay. Found once, kept in
run.json: a resumed job cuts the same batches, and gets the same bits.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import ModelError
from pipeline.model.forward import Forward, ForwardOptions, read_forward
from pipeline.model.packed import PackedModel
from pipeline.model.ragged import Ragged

SAMPLE_ROWS = {"cpu": 512, "gpu": 4096}
"""Rows that are tried."""

BATCH_TOKENS = {"cpu": 2048, "gpu": 65536}
"""Of a batch, where the job is too small to try others."""

_CANDIDATES = {"cpu": (512, 1024, 2048, 4096), "gpu": (16384, 32768, 65536, 131072)}

_NEAR_BEST = 0.97
"""The smallest batch is taken whose rate is this near the best: larger ones pad more and hold more memory."""

_LEAST_GAIN = 1.05
"""Compiling, which takes a minute or two at the start of each actor, or kernels must make the model so much
faster."""

_REPEATS = 3


@dataclass(frozen=True)
class Question:
    """What is to be found out; plain data."""

    forward: ForwardOptions
    device: str
    """cpu or gpu."""
    batch_tokens: int | None
    """None: to be found."""
    compiled: bool | None
    """None: to be found."""


def calibrate(question: Question, input_ids: pa.Array) -> dict[str, Any]:
    """Answer a question on the device of this process.

    Args:
        input_ids: (N,) list<int32>, rows of the input.
    Returns:
        For run.json: batch_tokens, compiled, kernels.
    """
    ids = Ragged.of(input_ids)
    compiled, kernels = bool(question.compiled), False
    budget = question.batch_tokens or BATCH_TOKENS[question.device]
    if len(ids.lengths):
        forward = read_forward(replace(question.forward, compiled=compiled))
        if question.batch_tokens is None:
            budget = _fastest_budget(forward, ids, question.device)
        if question.device == "gpu" and isinstance(forward.model, PackedModel):
            kernels = _pays(forward, replace(question.forward, kernels=True), ids, budget)
        elif question.device == "gpu" and question.compiled is None:
            compiled = _pays(forward, replace(question.forward, compiled=True), ids, budget)
    return {"batch_tokens": budget, "compiled": compiled, "kernels": kernels}


def _fastest_budget(forward: Forward, ids: Ragged, device: str) -> int:
    """The tokens in a batch, of several tried, that rows like these are scored fastest with."""
    rates: dict[int, float] = {}
    for budget in _CANDIDATES[device]:
        rates[budget] = _rate(forward, _repeated(ids, 2 * budget), budget)
    best = max(rates.values())
    return min(b for b, rate in rates.items() if rate >= _NEAR_BEST * best)


def _repeated(ids: Ragged, tokens: int) -> Ragged:
    """Rows repeated, or the first of them, to so many tokens or a few more."""
    total = int(ids.lengths.sum())
    times = -(-tokens // total)
    lengths = np.tile(ids.lengths, times)
    rows = int(np.searchsorted(np.cumsum(lengths), tokens)) + 1
    offsets = np.concatenate([[0], np.cumsum(lengths[:rows])]).astype(np.int64)
    values = np.tile(ids.values[ids.offsets[0] : ids.offsets[-1]], times)
    return Ragged(values[: offsets[-1]], offsets)


def _rate(forward: Forward, ids: Ragged, budget: int) -> float:
    """Tokens a second, the best of several: what else the machine does only ever slows it down."""
    took = [forward(ids, budget).seconds for _ in range(1 + _REPEATS)]
    return float(ids.lengths.sum()) / min(took[1:])


def _pays(forward: Forward, options: ForwardOptions, ids: Ragged, budget: int) -> bool:
    """Whether other options make the model enough faster; not, where they do not work."""
    sample = _repeated(ids, 4 * budget)
    try:
        other = read_forward(options)
    except ModelError as error:
        logging.getLogger(__name__).warning("%s", error)
        return False
    return _rate(other, sample, budget) >= _LEAST_GAIN * _rate(forward, sample, budget)
