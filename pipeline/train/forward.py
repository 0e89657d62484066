"""Forward pass of training and validation, with rows padded to the longest in their batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.arrays import IntArray
from pipeline.model.tensors import to_tensors
from pipeline.train.batches import Rows


@dataclass(frozen=True)
class PaddedForward:
    """Computation of logits on one device in one precision."""

    pad_id: int
    max_length: int
    """Maximum number of tokens in a row."""
    precision: str
    """float32 or bfloat16."""
    device: torch.device

    def __call__(
        self, model: torch.nn.Module, rows: Rows, numbers: IntArray
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and labels of the given rows.

        Args:
            model: a transformers classifier, wrapped or unwrapped.
            numbers: (B,) indices into `rows`, B at least 1.
        Returns:
            (B, C) float32 logits and (B,) int64 labels, on the device.
        """
        inputs = to_tensors(*rows.ids.pad(numbers, self.pad_id, self.max_length), str(self.device))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            logits = model(**inputs).logits.float()
        return logits, torch.from_numpy(rows.labels[numbers]).to(self.device)
