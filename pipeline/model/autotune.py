"""Autotuning of the forward pass, which a long job runs on its device before it starts.

The first rows of the input are used to find the fastest batch size in tokens, and whether torch.compile or
our own kernels are faster. The result is stored in run.json, so a resumed job cuts the same batches and
computes the same bits.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.errors import ModelError
from pipeline.model.forward import Forward, read_forward
from pipeline.model.options import BATCH_TOKENS, AutotuneOptions, ForwardOptions, TunedOptions
from pipeline.model.packed import PackedModel
from pipeline.model.ragged import Ragged

_CANDIDATES = {"cpu": (512, 1024, 2048, 4096), "gpu": (16384, 32768, 65536, 131072)}
"""Candidates for the number of tokens in a batch, by device."""

_NEAR_BEST = 0.97
"""The smallest batch size within this fraction of the best rate is used: larger ones pad more and use more
memory."""

_MIN_SPEEDUP = 1.05
"""Minimum speedup to use kernels or torch.compile, which takes a minute or two at the start of each actor."""

_REPEATS = 3


def autotune(options: AutotuneOptions, input_ids: pa.Array) -> TunedOptions:
    """Fastest settings on the device of this process.

    Args:
        input_ids: (N,) list<int32>: rows of the input.
    """
    ids = Ragged.of(input_ids)
    compiled, kernels = bool(options.compiled), False
    budget = options.batch_tokens or BATCH_TOKENS[options.device]
    if len(ids.lengths):
        forward = read_forward(replace(options.forward, compiled=compiled))
        if options.batch_tokens is None:
            budget = _fastest_budget(forward, ids, options.device)
        if options.device == "gpu" and isinstance(forward.model, PackedModel):
            kernels = _pays(forward, replace(options.forward, kernels=True), ids, budget)
        elif options.device == "gpu" and options.compiled is None:
            compiled = _pays(forward, replace(options.forward, compiled=True), ids, budget)
    return TunedOptions(budget, compiled, kernels)


def _fastest_budget(forward: Forward, ids: Ragged, device: str) -> int:
    """Smallest batch size, in tokens, whose rate is near the best."""
    rates: dict[int, float] = {}
    for budget in _CANDIDATES[device]:
        rates[budget] = _rate(forward, _repeated(ids, 2 * budget), budget)
    best = max(rates.values())
    return min(b for b, rate in rates.items() if rate >= _NEAR_BEST * best)


def _repeated(ids: Ragged, tokens: int) -> Ragged:
    """First rows with `tokens` tokens in total; all rows are repeated if they have fewer."""
    total = int(ids.lengths.sum())
    times = -(-tokens // total)
    lengths = np.tile(ids.lengths, times)
    rows = int(np.searchsorted(np.cumsum(lengths), tokens)) + 1
    offsets = np.concatenate([[0], np.cumsum(lengths[:rows])]).astype(np.int64)
    values = np.tile(ids.values[ids.offsets[0] : ids.offsets[-1]], times)
    return Ragged(values[: offsets[-1]], offsets)


def _rate(forward: Forward, ids: Ragged, budget: int) -> float:
    """Tokens per second in the best of several runs, because other load can only slow a run down."""
    timings = [forward(ids, budget).seconds for _ in range(1 + _REPEATS)]
    # The first run is a warm-up.
    return float(ids.lengths.sum()) / min(timings[1:])


def _pays(forward: Forward, options: ForwardOptions, ids: Ragged, budget: int) -> bool:
    """Whether other options are faster by `_MIN_SPEEDUP`; False if they do not work on this device."""
    sample = _repeated(ids, 4 * budget)
    try:
        other = read_forward(options)
    except ModelError as error:
        logging.getLogger(__name__).warning("%s", error)
        return False
    return _rate(other, sample, budget) >= _MIN_SPEEDUP * _rate(forward, sample, budget)
