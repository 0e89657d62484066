"""Loading of classifiers with transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipeline.errors import ModelError
from pipeline.humanize import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_classifier(directory: Path, labels: list[str] | None = None, *, seed: int = 0) -> PreTrainedModel:
    """A sequence classifier in float32 on the CPU.

    Args:
        labels: class names for a new head, initialized from `seed`; None: the model already has a head.
    Raises:
        ModelError: transformers cannot load it.
    """
    return _load(directory, {} if labels is None else _new_head(labels), seed)[0]


def load_with_new_head(
    directory: Path, labels: list[str], *, seed: int
) -> tuple[PreTrainedModel, frozenset[str]]:
    """A classifier for training, in float32 on the CPU, and its newly initialized parameters.

    Args:
        labels: class names.
        seed: seed of the new parameters.
    Returns:
        The model, and the names of the parameters that the checkpoint lacks or has in another shape: the
        head, and for some checkpoints a pooler or the head's first layer. The names are empty for a
        classifier with the same number of classes.
    Raises:
        ModelError: transformers cannot load it.
    """
    return _load(directory, _new_head(labels), seed)


def _new_head(labels: list[str]) -> dict[str, Any]:
    names = dict(enumerate(labels))
    return {
        "num_labels": len(labels),
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
        "ignore_mismatched_sizes": True,
    }


def _load(directory: Path, options: dict[str, Any], seed: int) -> tuple[PreTrainedModel, frozenset[str]]:
    # Imported here, because it takes two seconds, and scoring with a BERT does not need it.
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    # Without this, transformers warns about new parameters, which are expected.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            directory,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, StrictDataclassError) as error:
        raise ModelError(
            f"model {directory}: cannot be loaded as a classifier ({first_line(error)})"
        ) from None
    return model, frozenset(info["missing_keys"]) | {name for name, *_ in info["mismatched_keys"]}


def pad_token_id(model: PreTrainedModel) -> int:
    """Token ID that pads short rows; 0 if the model defines none, because padding is masked."""
    value = getattr(model.config, "pad_token_id", None)
    return int(value) if value is not None else 0
