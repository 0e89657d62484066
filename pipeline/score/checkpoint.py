"""A BERT classifier as its directory holds it, read without transformers, whose import takes two seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_AS_USUAL = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "quantization_config": None,
}
"""What a config must say, or leave out, so that the encoder is that of the paper. transformers' BERT reads
nothing else that makes a difference but sizes."""

_EMBEDDINGS = "bert.embeddings"
_LAYER = "bert.encoder.layer"


@dataclass(frozen=True)
class BertCheckpoint:
    """Weights and sizes of a BertForSequenceClassification of the usual kind."""

    tensors: Mapping[str, Any]
    """Tensors by their names in transformers, in a memory-mapped file: once a node, not once a process."""
    layers: int
    heads: int
    eps: float
    """Of the layer norms."""
    pad_id: int

    @property
    def hidden(self) -> int:
        """Channels of a token."""
        return int(self.embedding("word").shape[1])

    @property
    def classes(self) -> int:
        """Labels that it tells apart."""
        return int(self.tensors["classifier.weight"].shape[0])

    def embedding(self, kind: str) -> Any:
        """(N, hidden): the table of `word`, `position` or `token_type` embeddings."""
        return self.tensors[f"{_EMBEDDINGS}.{kind}_embeddings.weight"]

    def embedding_norm(self) -> tuple[Any, Any]:
        """Weight and bias of the norm over embeddings."""
        return self.module(f"{_EMBEDDINGS}.LayerNorm")

    def in_layer(self, number: int, name: str) -> tuple[Any, Any]:
        """Weight and bias of a module of a layer, as `attention.self.query`."""
        return self.module(f"{_LAYER}.{number}.{name}")

    def module(self, name: str) -> tuple[Any, Any]:
        """Weight and bias of a linear layer or a norm."""
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]


def read_bert(directory: Path) -> BertCheckpoint | None:
    """The model in a directory, if it is a BERT classifier of the usual kind; else transformers must read it.

    Source: Devlin et al. 2019, arXiv:1810.04805; names as in transformers' BertForSequenceClassification.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        if not _is_usual(config):
            return None
        tensors = load_file(directory / "model.safetensors")
        # Older files hold the numbers from 0 on as well.
        tensors.pop(f"{_EMBEDDINGS}.position_ids", None)
        if {name: tuple(t.shape) for name, t in tensors.items()} != _shapes(config):
            return None
        if not all(t.is_floating_point() for t in tensors.values()):
            return None
        return BertCheckpoint(
            tensors,
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            eps=config["layer_norm_eps"],
            pad_id=config.get("pad_token_id") or 0,
        )
    except (OSError, ValueError, TypeError, KeyError, SafetensorError):
        # Whatever is wrong with it, transformers says it in its own words.
        return None


def _is_usual(config: Mapping[str, Any]) -> bool:
    if config["architectures"] != ["BertForSequenceClassification"]:
        return False
    if config["hidden_size"] % config["num_attention_heads"]:
        return False
    return all(config.get(name, value) == value for name, value in _AS_USUAL.items())


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """What each tensor of such a model is like."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
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
        linear |= {f"{layer}.intermediate.dense": (wide, hidden), f"{layer}.output.dense": (hidden, wide)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    shapes: dict[str, tuple[int, ...]] = {
        f"{_EMBEDDINGS}.{kind}_embeddings.weight": (rows, hidden) for kind, rows in tables.items()
    }
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return shapes
