"""Metrics of the validation split."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.metrics.confusion import confusion_matrix, point_metrics
from pipeline.model.ragged import token_budget_batches
from pipeline.train.batches import read_rows, to_rows
from pipeline.train.forward import PaddedForward
from pipeline.train.objective import row_losses
from pipeline.train.parallel import Workers

EVAL_BATCH_TOKENS = 8192
"""Maximum padded tokens in a validation batch."""

_METRICS = ("accuracy", "macro_f1", "weighted_f1")


@torch.inference_mode()
def validate(
    model: torch.nn.Module, forward: PaddedForward, parts: list[str], num_labels: int, workers: Workers
) -> dict[str, float]:
    """Loss and metrics over all rows of a split; each row counts once, for any number of workers.

    Args:
        model: unwrapped, because DDP would synchronize workers that have different numbers of batches.
        parts: URIs of the Parquet parts of the split; worker r reads every `world`-th part from part r.
    Returns:
        val_loss, val_accuracy, val_macro_f1, val_weighted_f1; the same on every worker.
    """
    model.eval()
    # Float64 holds both the counts and the loss, so one sum over workers is enough.
    sums = np.zeros(num_labels**2 + 1)
    for table in read_rows(parts[workers.rank :: workers.world]):
        rows = to_rows(table)
        for batch in token_budget_batches(rows.ids.lengths, EVAL_BATCH_TOKENS, forward.max_length):
            logits, labels = forward(model, rows, batch)
            sums[-1] += float(row_losses(logits, labels).sum())
            predicted = logits.argmax(1).cpu().numpy()
            sums[:-1] += confusion_matrix(rows.labels[batch], predicted, num_labels).ravel()
    sums = workers.sum(sums)
    confusion = sums[:-1].astype(np.int64).reshape(num_labels, num_labels)
    figures = point_metrics(confusion)
    loss = float(sums[-1] / confusion.sum())
    return {"val_loss": loss} | {f"val_{name}": figures[name] for name in _METRICS}
