"""Load a classifier with transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.humanize import first_line


def load_classifier(directory: Path, labels: list[str] | None = None, *, seed: int = 0) -> Any:
    """A sequence classifier in float32 on the CPU.

    Args:
        labels: names of the classes of a model that is to be trained: a new head is made for them,
            initialized from `seed`. None: the model has its head already.
    Raises:
        ModelError: transformers cannot load it.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    # A new head is what is asked for; a report on it would look like a fault.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    options: dict[str, Any] = {}
    if labels is not None:
        names = dict(enumerate(labels))
        options = {"num_labels": len(labels), "id2label": names, "label2id": {n: i for i, n in names.items()}}
        options |= {"ignore_mismatched_sizes": True}
    torch.manual_seed(seed)
    try:
        return AutoModelForSequenceClassification.from_pretrained(
            directory, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, **options
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, StrictDataclassError) as error:
        raise ModelError(
            f"model {directory}: cannot be loaded as a classifier ({first_line(error)})"
        ) from None


def pad_token_id(model: Any) -> int:
    """The id that fills up short rows; it is masked, so any id will do where the model names none."""
    value = getattr(model.config, "pad_token_id", None)
    return int(value) if value is not None else 0
