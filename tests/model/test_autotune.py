"""Autotuning, with a model whose speed is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import ModelError
from pipeline.model import autotune as module
from pipeline.model.autotune import autotune
from pipeline.model.forward import Forward
from pipeline.model.load import load_classifier
from pipeline.model.options import BATCH_TOKENS, AutotuneOptions, ForwardOptions, TunedOptions
from pipeline.model.packed import PackedModel
from pipeline.model.padded import PaddedModel
from pipeline.model.ragged import Ragged
from tests.model.saved import forward_of

OPTIONS = ForwardOptions("m", "f", max_length=30, precision="bfloat16")


@pytest.fixture
def model(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load a tiny model for any model directory; the options of each load."""
    asked: list[ForwardOptions] = []

    def read(options: ForwardOptions) -> Forward:
        asked.append(options)
        return forward_of(load_classifier(tiny_model, ["bad", "good"]), options)

    monkeypatch.setattr(module, "read_forward", read)
    return asked


def ids(rows: int) -> pa.Array:
    numbers = np.random.default_rng(0)
    found = [numbers.integers(5, 500, n).tolist() for n in numbers.integers(1, 31, rows)]
    return pa.array(found, pa.list_(pa.int32()))


def tuning(**other: Any) -> AutotuneOptions:
    values = {"forward": OPTIONS, "device": "cpu", "batch_tokens": None, "compiled": None}
    return AutotuneOptions(**values | other)


def test_input_without_rows_gets_the_defaults(model: Any) -> None:
    found = autotune(tuning(), ids(0))
    assert found == TunedOptions(BATCH_TOKENS["cpu"], compiled=False, kernels=False)
    assert not model


def test_cpu_tries_batch_sizes_and_does_not_compile(model: Any) -> None:
    found = autotune(tuning(), ids(100))
    assert found.batch_tokens in (512, 1024, 2048, 4096)
    assert not found.compiled
    assert not found.kernels
    assert model == [OPTIONS]


def test_explicit_settings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Gpu(packed=False, gain=1.0)
    monkeypatch.setattr(module, "read_forward", cpu)
    found = autotune(tuning(batch_tokens=77, compiled=True), ids(20))
    assert found == TunedOptions(77, compiled=True, kernels=False)
    assert [o.compiled for o in cpu.asked] == [True]


class Timed:
    """A model that takes a fixed time per batch and per token."""

    def __init__(self, batch_s: float, token_s: float) -> None:
        self.batch_s, self.token_s = batch_s, token_s

    def __call__(self, ids: Ragged, budget: int) -> Any:
        tokens = int(ids.lengths.sum())
        return SimpleNamespace(seconds=self.batch_s * -(-tokens // budget) + self.token_s * tokens)


@pytest.mark.parametrize(
    ("batch_s", "token_s", "device", "budget"),
    [
        (0.0, 1e-4, "cpu", 512),  # All sizes are equally fast: the smallest is chosen.
        (1.0, 1e-6, "cpu", 4096),  # Only the number of batches counts.
        (0.002, 1e-4, "cpu", 1024),  # 1024 is within 3% of the best.
        (1.0, 1e-7, "gpu", 131072),
    ],
)
def test_smallest_batch_size_near_the_best_is_chosen(
    batch_s: float, token_s: float, device: str, budget: int
) -> None:
    forward: Any = Timed(batch_s, token_s)
    assert module._fastest_budget(forward, Ragged.of(ids(200)), device) == budget


class Gpu:
    """Forward passes of a simulated GPU; `gain` is the speedup of kernels and of compiling."""

    def __init__(self, gain: float, *, packed: bool) -> None:
        self.packed, self.gain = packed, gain
        self.asked: list[ForwardOptions] = []

    def __call__(self, options: ForwardOptions) -> Any:
        self.asked.append(options)
        forward: Any = Timed(0.0, 1e-6 / (self.gain if options.compiled or options.kernels else 1))
        forward.model = object.__new__(PackedModel if self.packed and not options.compiled else PaddedModel)
        return forward


@pytest.mark.parametrize(("gain", "pays"), [(1.0, False), (1.04, False), (1.3, True)])
@pytest.mark.parametrize("packed", [True, False])
def test_gpu_compiles_or_uses_kernels_only_if_faster(
    monkeypatch: pytest.MonkeyPatch, packed: bool, gain: float, pays: bool
) -> None:
    gpu = Gpu(gain, packed=packed)
    monkeypatch.setattr(module, "read_forward", gpu)
    found = autotune(tuning(device="gpu"), ids(100))
    assert (found.compiled, found.kernels) == (pays and not packed, pays and packed)
    assert gpu.asked == [
        OPTIONS,
        replace(OPTIONS, kernels=True) if packed else replace(OPTIONS, compiled=True),
    ]
    # An explicit setting is not measured.
    gpu.asked.clear()
    assert autotune(tuning(device="gpu", compiled=True), ids(100)).compiled
    assert gpu.asked == [replace(OPTIONS, compiled=True)]


def test_broken_kernels_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(2.0, packed=True)

    def broken(options: ForwardOptions) -> Any:
        if options.kernels:
            raise ModelError("rayview's kernels: not usable on this GPU (no C compiler)")
        return gpu(options)

    monkeypatch.setattr(module, "read_forward", broken)
    assert not autotune(tuning(device="gpu"), ids(100)).kernels


@pytest.mark.parametrize("tokens", [1, 100, 5000])
def test_rows_are_repeated_to_a_number_of_tokens(tokens: int) -> None:
    sample = Ragged.of(ids(40))
    found = module._repeated(sample, tokens)
    assert tokens <= found.lengths.sum() < tokens + 31
    for row in range(len(found.lengths)):
        start, stop = sample.offsets[row % 40 : row % 40 + 2]
        np.testing.assert_array_equal(
            found.values[found.offsets[row] : found.offsets[row + 1]], sample.values[start:stop]
        )
