"""Weights of a BERT classifier, read without transformers, which takes seconds to import."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import ModelError

Weights = tuple[Tensor, Tensor]
"""Weight and bias of a linear layer or a norm."""

_STANDARD = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "quantization_config": None,
    "per_layer_config": None,
    "transformers_weights": None,
}
"""Values that these keys of a config must have, unless it omits them: the classifier of the paper, with its
weights in the default file. Apart from them, only the sizes determine transformers' BERT."""

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)

_EMBEDDINGS = "bert.embeddings"
_LAYER = "bert.encoder.layer"


@dataclass(frozen=True)
class BertCheckpoint:
    """Weights and sizes of a standard BertForSequenceClassification."""

    tensors: Mapping[str, Tensor]
    """Tensors by their names in transformers. They are memory-mapped, so a node holds them once, not once per
    process; overwriting the file in place, instead of replacing it, changes them."""
    layers: int
    heads: int
    eps: float
    """Epsilon of the layer norms."""
    pad_id: int

    @property
    def hidden(self) -> int:
        """Channels of the hidden states."""
        return int(self.embedding("word").shape[1])

    @property
    def classes(self) -> int:
        """Number of labels."""
        return int(self.tensors["classifier.weight"].shape[0])

    def embedding(self, kind: str) -> Tensor:
        """(N, hidden): table of `word`, `position` or `token_type` embeddings."""
        return self.tensors[f"{_EMBEDDINGS}.{kind}_embeddings.weight"]

    def embedding_norm(self) -> Weights:
        """Weight and bias of the norm over embeddings."""
        return self.module(f"{_EMBEDDINGS}.LayerNorm")

    def in_layer(self, number: int, name: str) -> Weights:
        """Weight and bias of a module of a layer, such as `attention.self.query`."""
        return self.module(f"{_LAYER}.{number}.{name}")

    def module(self, name: str) -> Weights:
        """Weight and bias of a linear layer or a norm."""
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]


def read_bert(directory: Path) -> BertCheckpoint | None:
    """The model in a directory; None if it is not a standard BERT classifier, so transformers must load it.

    Raises:
        ModelError: its files cannot be read.
    Source: Devlin et al. 2019, arXiv:1810.04805; names as in transformers' BertForSequenceClassification.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        if not _is_standard(config):
            return None
        tensors = load_file(directory / "model.safetensors")
        # Older files also contain the position numbers.
        tensors.pop(f"{_EMBEDDINGS}.position_ids", None)
        if {name: tuple(t.shape) for name, t in tensors.items()} != _shapes(config):
            return None
    except (FileNotFoundError, ValueError, TypeError, KeyError, SafetensorError):
        # transformers then raises the error message.
        return None
    except OSError as error:
        # Falling back to transformers would change the last bits of the results.
        raise ModelError(f"model {directory}: cannot be read: {error}") from None
    if not all(t.is_floating_point() for t in tensors.values()):
        return None
    return BertCheckpoint(
        tensors,
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        eps=config["layer_norm_eps"],
        pad_id=config["pad_token_id"] or 0,
    )


def _is_standard(config: Mapping[str, Any]) -> bool:
    """Whether a config describes a standard BERT classifier; KeyError if it is incomplete."""
    if (config["model_type"], config["architectures"]) != ("bert", ["BertForSequenceClassification"]):
        return False
    sizes, eps, pad_id = [config[name] for name in _SIZES], config["layer_norm_eps"], config["pad_token_id"]
    if not all(type(size) is int and size > 0 for size in sizes) or not (type(eps) is float and eps > 0):
        return False
    if pad_id is not None and not (type(pad_id) is int and 0 <= pad_id < config["vocab_size"]):
        return False
    if config["hidden_size"] % config["num_attention_heads"]:
        return False
    return all(config.get(name, value) == value for name, value in _STANDARD.items())


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of a standard BERT classifier."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    tables = {
        "word": config["vocab_size"],
        "position": config["max_position_embeddings"],
        "token_type": config["type_vocab_size"],
    }
    linear = {"bert.pooler.dense": (hidden, hidden), "classifier": (len(config["id2label"]), hidden)}
    norms = [f"{_EMBEDDINGS}.LayerNorm"]
    for layer in (f"{_LAYER}.{n}" for n in range(config["num_hidden_layers"])):
        attention = [f"attention.self.{part}" for part in ("query", "key", "value")]
        linear |= {f"{layer}.{name}": (hidden, hidden) for name in (*attention, "attention.output.dense")}
        linear[f"{layer}.intermediate.dense"] = (intermediate, hidden)
        linear[f"{layer}.output.dense"] = (hidden, intermediate)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    shapes: dict[str, tuple[int, ...]] = {
        f"{_EMBEDDINGS}.{kind}_embeddings.weight": (rows, hidden) for kind, rows in tables.items()
    }
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return shapes
