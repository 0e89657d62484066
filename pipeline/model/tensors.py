"""Token IDs as tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import IntArray

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rows:
    """B rows of falling length, one after the other, on the device."""

    ids: torch.Tensor
    """(T,) int64: the token ids of all rows, and maybe others behind them."""
    positions: torch.Tensor
    """(T,) int64: the place of each token in its row."""
    bounds: torch.Tensor
    """(B + 1,) int32: where each row begins, and the end of the last."""
    lengths: IntArray
    """(B,) int64 in the host's memory."""


def to_device(values: npt.NDArray[Any], device: str) -> torch.Tensor:
    """An array as a tensor on a device; a GPU may still have to come to it."""
    import torch

    # A copy: Arrow's memory is read-only, which PyTorch warns of.
    tensor = torch.from_numpy(np.array(values))
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_tensors(ids: IntArray, mask: IntArray, device: str) -> dict[str, torch.Tensor]:
    """A padded batch as the model takes it, on its device."""
    return {"input_ids": to_device(ids, device), "attention_mask": to_device(mask, device)}
