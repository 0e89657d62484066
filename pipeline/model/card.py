"""rayview.json: the labels, columns and limits that a model was trained with."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import InputError, ModelError
from pipeline.humanize import first_line
from pipeline.storage.location import Location

CARD_FILE = "rayview.json"


class ModelCard(BaseModel):
    """rayview.json: what a model needs to be used on other data as it was trained."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    base_model: str
    labels: list[str]
    """Names of the classes, in the order of the model's outputs."""
    scheme: str
    stars_to_label: dict[str, str | None]
    max_length: int
    text: list[str] | None
    """Columns joined into the text; None: those of the dump's format."""
    text_separator: str
    unescape_html: bool = False
    """Whether `&amp;` and `<br />` in texts are written out first."""
    data_fingerprint: str


def read_card(directory: Location) -> ModelCard:
    """rayview.json of a model directory.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    file = directory.child(CARD_FILE)
    if not file.exists():
        raise ModelError(
            f"{directory.uri}: no {CARD_FILE} there; --model takes a directory that jobs.train wrote"
        )
    try:
        return ModelCard.model_validate_json(file.read_bytes())
    except (ValidationError, InputError) as error:
        raise ModelError(f"{file.uri}: damaged: {first_line(error)}") from None


def fingerprint_model(directory: Location) -> str:
    """A short name for what a model computes: SHA-256 over its weights, config, tokenizer and card."""
    names = ("config.json", "model.safetensors", "tokenizer.json", CARD_FILE)
    sha = hashlib.sha256()
    for name in names:
        sha.update(name.encode())
        # A piece at a time: on a node with many actors the file is in memory once, as the system's cache.
        for piece in directory.child(name).read_pieces():
            sha.update(piece)
    return sha.hexdigest()[:16]
