"""A model to measure on: what it has learned makes no difference to its speed."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config
from pipeline.ingest.labels import label_scheme
from pipeline.model import CARD_FILE, ModelCard, load_classifier, resolve_model, save_tokenizer


def write_model(directory: Path, name: str, max_length: int) -> None:
    """A model directory as `jobs.train` leaves it, with a head for five stars that was not trained.

    Args:
        name: of the model to start from.
    """
    config = Config()
    scheme = label_scheme(config.labels.scheme)
    base = resolve_model(name)
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
    load_classifier(base, list(scheme.labels)).save_pretrained(directory)
    (directory / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
