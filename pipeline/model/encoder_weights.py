"""Weights of a classifier, read without transformers, which takes seconds to import."""

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
from pipeline.model.families import FAMILIES, LAYER_MODULES, RELATIVE_BUCKETS, Family

Weights = tuple[Tensor, Tensor]
"""Weight and bias of a linear layer or a norm."""

_REQUIRED_SIZES = ("vocab", "hidden", "layers", "heads", "intermediate", "positions")


@dataclass(frozen=True)
class EncoderCheckpoint:
    """Weights and sizes of a standard classifier of one of FAMILIES."""

    family: Family
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
        return int(self.in_layer(0, "query")[0].shape[0])

    @property
    def classes(self) -> int:
        """Number of labels."""
        return int(self.head()[1][0].shape[0])

    @property
    def pads_shift_positions(self) -> bool:
        """See Family."""
        return self.family.pads_shift_positions

    @property
    def layer_weights(self) -> int:
        """Number of weights in the matrices of a layer."""
        first = (self.in_layer(0, name)[0] for name in LAYER_MODULES)
        return sum(t.numel() for t in first if t.dim() == 2)

    def words(self) -> Tensor:
        """(V, E): table of word embeddings."""
        return self._table(self.family.word)

    def positions(self) -> Tensor:
        """(P, E): table of position embeddings."""
        return self._table(self.family.position)

    def token_types(self) -> Tensor | None:
        """(T, E): table of token type embeddings; None if the family has none."""
        return None if self.family.token_type is None else self._table(self.family.token_type)

    def embedding_norm(self) -> Weights:
        """Weight and bias of the norm over embeddings."""
        return self._module(f"{self.family.embeddings}.{self.family.norm}")

    def projection(self) -> Weights | None:
        """Weight and bias of the linear layer from the embeddings to the hidden states; None without one."""
        name = self.family.projection
        return self._module(name) if name is not None and f"{name}.weight" in self.tensors else None

    def relative_bias(self) -> Tensor | None:
        """(R, heads): bias of the attention scores by group of relative positions; None if there is none."""
        name = self.family.relative_bias
        return None if name is None else self.tensors[f"{name}.weight"]

    def in_layer(self, number: int, name: str) -> Weights:
        """Weight and bias of a module of a layer, one of LAYER_MODULES."""
        return self._module(f"{self.family.layer.format(number)}.{self.family.modules[name]}")

    def head(self) -> tuple[Weights, Weights]:
        """Weights and biases of both linear layers of the head."""
        first, last = self.family.head
        return self._module(first), self._module(last)

    def _table(self, name: str) -> Tensor:
        return self.tensors[f"{self.family.embeddings}.{name}.weight"]

    def _module(self, name: str) -> Weights:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]


def read_encoder(directory: Path) -> EncoderCheckpoint | None:
    """The model in a directory; None if it is not a standard classifier, so transformers must load it.

    Raises:
        ModelError: its files cannot be read.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        family = FAMILIES.get(config["model_type"])
        if family is None or not _is_standard(config, family):
            return None
        tensors = load_file(directory / "model.safetensors")
        # Older files also contain the position numbers, and parts that the classifier does not use.
        tensors.pop(f"{family.embeddings}.position_ids", None)
        if family.unused:
            tensors = {n: t for n, t in tensors.items() if not n.startswith(family.unused)}
        if {name: tuple(t.shape) for name, t in tensors.items()} != _shapes(config, family):
            return None
    except (FileNotFoundError, ValueError, TypeError, KeyError, SafetensorError):
        # transformers then raises the error message.
        return None
    except OSError as error:
        # Falling back to transformers would change the last bits of the results.
        raise ModelError(f"model {directory}: cannot be read: {error}") from None
    if not all(t.is_floating_point() for t in tensors.values()):
        return None
    eps = _eps(config, family)
    assert isinstance(eps, float)
    return EncoderCheckpoint(
        family,
        tensors,
        layers=config[family.sizes["layers"]],
        heads=config[family.sizes["heads"]],
        eps=eps,
        pad_id=config["pad_token_id"] or 0,
    )


def _is_standard(config: Mapping[str, Any], family: Family) -> bool:
    """Whether a config describes a standard classifier of a family; KeyError if it is incomplete."""
    if config["architectures"] != [family.architecture]:
        return False
    sizes, eps, pad_id = (
        [config[key] for key in family.sizes.values()],
        _eps(config, family),
        config["pad_token_id"],
    )
    if not all(type(size) is int and size > 0 for size in sizes) or not (type(eps) is float and eps > 0):
        return False
    if pad_id is None and family.pads_shift_positions:
        return False
    if pad_id is not None and not (type(pad_id) is int and 0 <= pad_id < config[family.sizes["vocab"]]):
        return False
    if config[family.sizes["hidden"]] % config[family.sizes["heads"]]:
        return False
    return all(config.get(name, value) == value for name, value in family.standard.items())


def _eps(config: Mapping[str, Any], family: Family) -> object:
    return config[family.eps] if isinstance(family.eps, str) else family.eps


def _shapes(config: Mapping[str, Any], family: Family) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of a standard classifier."""
    size = {name: config[key] for name, key in family.sizes.items()}
    hidden, intermediate = size["hidden"], size["intermediate"]
    embedding = size.get("embedding", hidden)
    tables = {family.word: size["vocab"], family.position: size["positions"]}
    if family.token_type is not None:
        tables[family.token_type] = size["types"]
    first, last = family.head
    # transformers omits the names of two labels that have none.
    linear = {first: (hidden, hidden), last: (len(config.get("id2label") or "01"), hidden)}
    if embedding != hidden:
        # Without a name of a projection, this shape occurs in no file.
        linear[str(family.projection)] = (hidden, embedding)
    norms = {f"{family.embeddings}.{family.norm}": embedding}
    shape_of = {
        **dict.fromkeys(("query", "key", "value", "attention_output"), (hidden, hidden)),
        "intermediate": (intermediate, hidden),
        "output": (hidden, intermediate),
    }
    for layer in map(family.layer.format, range(size["layers"])):
        linear |= {f"{layer}.{family.modules[name]}": shape for name, shape in shape_of.items()}
        norms |= {f"{layer}.{family.modules[name]}": hidden for name in ("attention_norm", "output_norm")}
    shapes: dict[str, tuple[int, ...]] = {
        f"{family.embeddings}.{table}.weight": (rows, embedding) for table, rows in tables.items()
    }
    if family.relative_bias is not None:
        shapes[f"{family.relative_bias}.weight"] = (RELATIVE_BUCKETS, size["heads"])
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, channels in norms.items():
        shapes |= {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
    return shapes
