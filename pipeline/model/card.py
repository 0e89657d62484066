"""rayview.json: the labels, columns and limits that a model was trained with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import InputError, ModelError
from pipeline.humanize import first_line
from pipeline.storage.location import Location

CARD_FILE = "rayview.json"
_MODEL_SUFFIXES = (".json", ".safetensors", ".model", "vocab.txt", "merges.txt")
"""Names of the files of a model that jobs.train did not write."""


Problem = Literal["single_label", "multi_label", "regression"]
"""What the outputs of a model mean: one of the labels, any number of them, or a number."""
Activation = Literal["softmax", "sigmoid", "none"]


class ModelCard(BaseModel):
    """Content of rayview.json, with which a model is applied to other data as in training."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    base_model: str
    labels: list[str]
    """Names of the classes, in the order of the model's outputs."""
    scheme: str
    stars_to_label: dict[str, str | None]
    max_length: int
    text: list[str] | None
    """Columns joined into the text; None: the text columns of the dump's format."""
    columns: dict[str, str] = {}
    """Columns that the settings named in training, by setting: stars, asin, user_id, timestamp, verified."""
    header: list[str] = []
    """Names of all columns of the training files, if the settings named them because of a missing header."""
    text_separator: str
    unescape_html: bool = False
    """Whether `&amp;` and `<br />` in texts are decoded first."""
    data_fingerprint: str
    scale: str | None = None
    """`labels.scale` of the training data; None: 1 to 5 in whole and half stars."""
    unrated: list[str] = []
    """Values that mean "not rated"."""
    problem: Problem = "single_label"
    activation: Activation = "softmax"
    """Function that is applied to the outputs of the model."""


def read_card(directory: Location) -> ModelCard:
    """rayview.json of a model directory.

    Raises:
        ModelError: it does not exist, or is damaged.
    """
    file = directory.child(CARD_FILE)
    if not file.exists():
        raise ModelError(
            f"{directory.uri}: no {CARD_FILE} there; --model needs a directory that jobs.train wrote"
        )
    try:
        return ModelCard.model_validate_json(file.read_bytes())
    except (ValidationError, InputError) as error:
        raise ModelError(f"{file.uri}: damaged: {first_line(error)}") from None


def is_own(directory: Location) -> bool:
    """Whether jobs.train wrote a model directory."""
    return directory.child(CARD_FILE).exists()


def fingerprint_model(directory: Location) -> str:
    """Fingerprint of the files that determine a model's output: weights, config, tokenizer and card."""
    names: Iterable[str] = ("config.json", "model.safetensors", "tokenizer.json", CARD_FILE)
    if not is_own(directory):
        names = sorted(n for n in directory.sizes(recursive=False) if n.endswith(_MODEL_SUFFIXES))
    sha = hashlib.sha256()
    for name in names:
        sha.update(name.encode())
        # In pieces, so that a node with many actors holds the file in memory only once, in the page cache.
        for piece in directory.child(name).read_pieces():
            sha.update(piece)
    return sha.hexdigest()[:16]
