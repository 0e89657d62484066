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
    """B packed rows of falling length, on the device."""

    ids: Tensor
    """(T,) int64: the token IDs of all rows; more may follow."""
    positions: Tensor
    """(T,) int64: the position of each token in its row; more may follow."""
    bounds: Tensor
    """(B + 1,) int32: start of each row, and the end of the last row."""
    lengths: IntArray
    """(B,) int64 in the host's memory."""


def to_device(values: npt.NDArray[np.generic], device: str) -> Tensor:
    """An array as a tensor on a device; the copy to a GPU is asynchronous."""
    # A copy: Arrow's memory is read-only, which makes PyTorch warn.
    tensor = torch.from_numpy(np.array(values))
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_tensors(ids: IntArray, mask: IntArray, device: str) -> dict[str, Tensor]:
    """A padded batch as arguments of a model, on its device."""
    return {"input_ids": to_device(ids, device), "attention_mask": to_device(mask, device)}
