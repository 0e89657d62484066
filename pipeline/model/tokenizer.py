"""Tokenizer of a model directory."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ModelError
from pipeline.humanize import first_line
from pipeline.model.hub import read_model_config


def tokenizer_json(directory: Path) -> str:
    """Tokenizer of a model in the format of the `tokenizers` library.

    Raises:
        ModelError: the model has no tokenizer that can be converted to this format.
    """
    file = directory / "tokenizer.json"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    from transformers import AutoTokenizer

    try:
        return str(AutoTokenizer.from_pretrained(directory).backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"model {directory}: no usable tokenizer ({first_line(error)})") from None


def check_vocabulary(directory: Path, tokenizer: str) -> None:
    """Raise ModelError if a tokenizer, given as JSON, produces IDs outside the vocabulary of the model."""
    from tokenizers import Tokenizer

    size = read_model_config(directory).get("vocab_size")
    try:
        max_id = max(Tokenizer.from_str(tokenizer).get_vocab().values(), default=0)
    except Exception as error:  # noqa: BLE001  The library raises plain Exceptions.
        raise ModelError(f"model {directory}: damaged tokenizer ({first_line(error)})") from None
    if size and max_id >= int(size):
        raise ModelError(
            f"model {directory}: its tokenizer produces IDs up to {max_id}, but its weights support only IDs"
            f" below {size}; tokenizer and weights do not match"
        )


def save_tokenizer(directory: Path, target: Path) -> None:
    """Write the tokenizer of the model in `directory` to `target`, so that AutoTokenizer finds it there."""
    from transformers import AutoTokenizer

    target.mkdir(parents=True, exist_ok=True)
    AutoTokenizer.from_pretrained(directory).save_pretrained(target)
