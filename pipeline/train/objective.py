"""Loss per row from logits and labels, the same for training and validation."""

from __future__ import annotations

import torch


def row_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each row.

    Args:
        logits: (B, C) float32.
        labels: (B,) int64 in [0, C).
    Returns:
        (B,) float32.
    """
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")
