"""Token IDs as tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.arrays import IntArray


@dataclass(frozen=True)
class Rows:
    """B packed rows of descending length, on the device."""

    ids: Tensor
    """(T,) int64: token IDs of all rows; padding may follow."""
    positions: Tensor
    """(T,) int64: position of each token in its row; padding may follow."""
    bounds: Tensor
    """(B + 1,) int32: start of each row, and the end of the last row."""
    lengths: IntArray
    """(B,) int64: number of tokens in each row, in host memory."""


def to_device(values: npt.NDArray[np.generic], device: str) -> Tensor:
    """An array as a tensor on a device; the copy to a GPU is asynchronous."""
    # A copy, because Arrow's memory is read-only, about which PyTorch warns.
    tensor = torch.from_numpy(np.array(values))
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_tensors(ids: IntArray, mask: IntArray, device: str) -> dict[str, Tensor]:
    """Padded batch as keyword arguments of a model, on its device."""
    return {"input_ids": to_device(ids, device), "attention_mask": to_device(mask, device)}
