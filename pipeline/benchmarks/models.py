"""Untrained models for benchmarks, because weights do not affect speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import DEFAULT_MODEL, Config
from pipeline.ingest.clean.labels import label_scheme
from pipeline.model.card import CARD_FILE, ModelCard
from pipeline.model.hub import resolve_model
from pipeline.model.load import load_classifier
from pipeline.model.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RANDOM_BASE = "bert-base-random"
"""Model name for BERT-base with random weights, created from its config."""


def write_model(directory: Path, name: str, max_length: int) -> None:
    """Write a model directory like that of `jobs.train`, with an untrained head for five stars.

    Args:
        name: name of the base model; RANDOM_BASE uses the tokenizer of the default model.
        max_length: maximum number of tokens of a row.
    """
    config = Config()
    scheme = label_scheme(config.labels.scheme)
    base = resolve_model(DEFAULT_MODEL if name == RANDOM_BASE else name)
    card = ModelCard(
        base_model=name,
        labels=list(scheme.labels),
        scheme=scheme.name,
        stars_to_label=scheme.rule(),
        max_length=max_length,
        text=None,
        text_separator=config.input.text_separator,
        unescape_html=config.input.unescape_html,
        data_fingerprint="none",
    )
    save_tokenizer(base, directory)
    _classifier(base, name, list(scheme.labels)).save_pretrained(directory)
    (directory / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _classifier(base: Path, name: str, labels: list[str]) -> PreTrainedModel:
    if name != RANDOM_BASE:
        return load_classifier(base, labels)
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    # The defaults of BertConfig are those of BERT-base.
    return BertForSequenceClassification(BertConfig(num_labels=len(labels)))
