"""Untrained models for benchmarks, because weights do not affect speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import DEFAULT_MODEL, Config
from pipeline.ingest.clean.labels import label_scheme
from pipeline.model.card import CARD_FILE, ModelCard
from pipeline.model.hub import read_model_config, resolve_model
from pipeline.model.load import load_classifier
from pipeline.model.tokenizer import save_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RANDOM_BASE = "bert-base-random"
"""Model name for BERT-base with random weights, created from its config."""


_SIZES = {
    **{"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "max_position_embeddings": 514,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": _SIZES,
    "distilbert": {"dim": 384, "n_layers": 6, "n_heads": 12, "hidden_dim": 1536},
    "roberta": _SIZES,
    "xlm-roberta": _SIZES,
    "camembert": _SIZES,
    "electra": {**_SIZES, "embedding_size": 384},
    "mpnet": {**_SIZES, "pad_token_id": 1},
    # Half of the gated units are gates.
    "modernbert": {**_SIZES, "intermediate_size": 1024},
}
"""Sizes of a model like MiniLM-L6, by `model_type`."""


def write_family(directory: Path, model_type: str) -> None:
    """Write a five-star classifier with random weights, as transformers saves it, with the default tokenizer.

    Args:
        model_type: one of FAMILIES.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    base = resolve_model(DEFAULT_MODEL)
    save_tokenizer(base, directory)
    torch.manual_seed(0)
    names = {number: f"{number + 1} stars" for number in range(5)}
    vocabulary = int(read_model_config(base)["vocab_size"])
    options = {"pad_token_id": 0, "id2label": names, "vocab_size": vocabulary, **FAMILIES[model_type]}
    if model_type == "modernbert":
        # Its defaults are beyond the vocabulary.
        options |= dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1)
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(model_type, **options))
    model.save_pretrained(directory)


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
