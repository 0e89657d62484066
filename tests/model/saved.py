"""Models that a test creates, saved and then loaded as a job loads them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.model.encoder_weights import EncoderCheckpoint, read_encoder
from pipeline.model.forward import Forward
from pipeline.model.options import ForwardOptions
from pipeline.model.packed import PackedModel


def checkpoint_of(model: Any) -> EncoderCheckpoint | None:
    """A transformers model, saved and read by `read_encoder`."""
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return read_encoder(Path(folder))


def packed(model: Any, precision: str) -> PackedModel:
    """A transformers BERT as a PackedModel on the CPU."""
    checkpoint = checkpoint_of(model)
    assert checkpoint is not None
    return PackedModel(checkpoint, precision, "cpu")


def forward_of(model: Any, options: ForwardOptions) -> Forward:
    """The forward pass of a transformers model."""
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return Forward(Path(folder), options)
