"""Options of the forward pass and of autotuning; plain data that imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.model.card import Activation

SAMPLE_ROWS = {"cpu": 512, "gpu": 4096}
"""Number of input rows that autotuning uses, by device."""

BATCH_TOKENS = {"cpu": 2048, "gpu": 65536}
"""Tokens in a batch of a job that is too small to autotune, by device."""


@dataclass(frozen=True)
class ForwardOptions:
    """Options with which a worker loads a model. The same options and rows give the same bits."""

    model: str
    """URI of the model directory, or name of a model on the Hub."""
    fingerprint: str
    """Result of `fingerprint_model` at the start of the job."""
    max_length: int
    precision: str
    """float32 or bfloat16."""
    compiled: bool = False
    """Whether to use torch.compile."""
    kernels: bool = False
    """Whether to compute with kernels.py on a GPU."""
    revision: str | None = None
    """Commit of a model on the Hub."""
    activation: Activation = "softmax"
    """Function that is applied to the outputs."""


@dataclass(frozen=True)
class AutotuneOptions:
    """Options of autotuning: the values to measure, and the device."""

    forward: ForwardOptions
    device: str
    """cpu or gpu."""
    batch_tokens: int | None
    """None: measure which batch size is fastest."""
    compiled: bool | None
    """None: measure whether torch.compile is faster."""


@dataclass(frozen=True)
class TunedOptions:
    """Result of autotuning; run.json stores it under these names."""

    batch_tokens: int
    compiled: bool
    kernels: bool
