"""ModernBERT over packed rows: rotary positions, gated linear units, and local attention in most layers.

Source: Warner et al. 2024, arXiv:2412.13663; equivalent to transformers' ModernBertForSequenceClassification.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import ModelError
from pipeline.model.attention import Operations, PairBias
from pipeline.model.ragged import round_up
from pipeline.model.tensors import Rows

_STANDARD = {
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
    "classifier_pooling": "cls",
    "quantization_config": None,
    "transformers_weights": None,
    "rope_scaling": None,
}
"""Values that these keys of a config must have, unless it omits them."""
_THETAS = {
    "full_attention": ("global_rope_theta", 160_000.0),
    "sliding_attention": ("local_rope_theta", 10_000.0),
}
"""Key of an older config, and default, of the base of the rotary frequencies, by type of layer."""
_LOCAL = "sliding_attention"


@dataclass(frozen=True)
class ModernCheckpoint:
    """Weights and sizes of a standard ModernBERT classifier."""

    tensors: Mapping[str, Tensor]
    """Tensors by their names in transformers; memory-mapped."""
    layer_types: tuple[str, ...]
    """full_attention or sliding_attention of each layer."""
    thetas: Mapping[str, float]
    """Base of the rotary frequencies by type of layer."""
    window: int
    """Largest distance of tokens in local attention."""
    positions: int
    """Maximum number of tokens of a row."""
    heads: int
    eps: float
    pad_id: int
    pads_shift_positions: bool = False

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.layer_types)

    @property
    def hidden(self) -> int:
        """Channels of the hidden states."""
        return int(self.tensors["model.embeddings.tok_embeddings.weight"].shape[1])

    @property
    def classes(self) -> int:
        """Number of labels."""
        return int(self.tensors["classifier.weight"].shape[0])

    @property
    def layer_weights(self) -> int:
        """Number of weights in the matrices of a layer."""
        layer = (t for name, t in self.tensors.items() if name.startswith("model.layers.0."))
        return sum(t.numel() for t in layer if t.dim() == 2)


def read_modern(directory: Path) -> ModernCheckpoint | None:
    """The ModernBERT in a directory; None if it is another model, so transformers must load it.

    Raises:
        ModelError: its files cannot be read.
    """
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        if not _is_standard(config):
            return None
        tensors = load_file(directory / "model.safetensors")
        if {name: tuple(t.shape) for name, t in tensors.items()} != _shapes(config):
            return None
        if not all(t.is_floating_point() for t in tensors.values()):
            return None
        return ModernCheckpoint(
            tensors,
            layer_types=_layer_types(config),
            thetas={kind: _theta(config, kind) for kind in _THETAS},
            window=config["local_attention"] // 2,
            positions=config["max_position_embeddings"],
            heads=config["num_attention_heads"],
            eps=config["norm_eps"],
            pad_id=config["pad_token_id"] or 0,
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError, SafetensorError):
        # transformers then raises the error message.
        return None
    except OSError as error:
        raise ModelError(f"model {directory}: cannot be read: {error}") from None


def _is_standard(config: Mapping[str, Any]) -> bool:
    """Whether a config describes a standard classifier; KeyError if it is incomplete."""
    if (config["model_type"], config["architectures"]) != (
        "modernbert",
        ["ModernBertForSequenceClassification"],
    ):
        return False
    if config["hidden_size"] % (2 * config["num_attention_heads"]):
        return False
    if not {*_layer_types(config)} <= {*_THETAS}:
        return False
    return all(config.get(name, value) == value for name, value in _STANDARD.items())


def _layer_types(config: Mapping[str, Any]) -> tuple[str, ...]:
    given = config.get("layer_types")
    if given is not None:
        return tuple(given)
    every = config.get("global_attn_every_n_layers", 3)
    return tuple(_LOCAL if i % every else "full_attention" for i in range(config["num_hidden_layers"]))


def _theta(config: Mapping[str, Any], kind: str) -> float:
    key, default = _THETAS[kind]
    given = (config.get("rope_parameters") or {}).get(kind) or {}
    if given.get("rope_type", "default") != "default":
        raise ValueError("scaled rotary frequencies")
    return float(given.get("rope_theta") or config.get(key) or default)


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of a standard classifier."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    has_bias = (bool(config.get(f"{name}_bias")) for name in ("attention", "mlp", "norm", "classifier"))
    attention, mlp, norm, head = has_bias
    norms = ["model.embeddings.norm", "model.final_norm", "head.norm"]
    # transformers omits the names of two labels that have none.
    labels = len(config.get("id2label") or "01")
    linear = {"head.dense": (hidden, hidden, head)}
    for number, _ in enumerate(_layer_types(config)):
        layer = f"model.layers.{number}"
        norms += [f"{layer}.mlp_norm", *([f"{layer}.attn_norm"] if number else [])]
        linear |= {
            f"{layer}.attn.Wqkv": (3 * hidden, hidden, attention),
            f"{layer}.attn.Wo": (hidden, hidden, attention),
            f"{layer}.mlp.Wi": (2 * intermediate, hidden, mlp),
            f"{layer}.mlp.Wo": (hidden, intermediate, mlp),
        }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embeddings.tok_embeddings.weight": (config["vocab_size"], hidden),
        "classifier.weight": (labels, hidden),
        "classifier.bias": (labels,),
    }
    for name, (rows, columns, bias) in linear.items():
        shapes |= {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,)} | ({f"{name}.bias": (hidden,)} if norm else {})
    return shapes


class ModernEncoder:
    """A ModernBERT classifier in evaluation mode."""

    def __init__(
        self, checkpoint: ModernCheckpoint, dtype: torch.dtype, device: str, operations: Operations
    ) -> None:
        """Copy the weights to a device.

        Args:
            dtype: dtype of the encoder. The head stays in float32.
        Raises:
            ModelError: the device is a GPU, whose variable-length attention has not been tested with windows.
        """
        if device != "cpu":
            raise ModelError("local attention: not available without padding on a GPU")
        self._types, self._window = checkpoint.layer_types, checkpoint.window
        self._local = PairBias(partial(_local_bias, checkpoint.window, dtype))
        self._heads, self._eps = checkpoint.heads, checkpoint.eps
        # Weights with an unchanged dtype stay in the memory-mapped file, which all actors share.
        self._tensors = {
            name: tensor.to(device, torch.float32 if name.startswith(("head.", "classifier.")) else dtype)
            for name, tensor in checkpoint.tensors.items()
        }
        size = checkpoint.hidden // checkpoint.heads
        self._turns = {
            kind: _rotations(theta, checkpoint.positions, size, dtype)
            for kind, theta in checkpoint.thetas.items()
        }
        self._operations = operations
        self.step = operations.step

    def __call__(self, rows: Rows) -> Tensor:
        """(B, C) float32: logits of B rows; see PackedEncoder."""
        hidden = self._norm(
            self._tensors["model.embeddings.tok_embeddings.weight"][rows.ids], "model.embeddings.norm"
        )
        longest = int(rows.lengths[0])
        local = self._local.upto(longest) if longest > self._window + 1 else None
        turns = {
            kind: tuple(table[rows.positions][:, None] for table in tables)
            for kind, tables in self._turns.items()
        }
        last = len(self._types) - 1
        for number in range(last):
            hidden = self._layer(number, hidden, hidden, rows, turns, local, None)
        count = len(rows.lengths)
        first = F.pad(rows.bounds[:-1].long(), (0, round_up(count, self.step) - count))
        hidden = self._layer(last, hidden, hidden[first], rows, turns, local, first)
        hidden = self._norm(hidden, "model.final_norm").float()
        pooled = self._norm(F.gelu(self._linear(hidden, "head.dense")), "head.norm")
        return self._linear(pooled, "classifier")[:count]

    def _layer(
        self,
        number: int,
        hidden: Tensor,
        asked: Tensor,
        rows: Rows,
        turns: Mapping[str, tuple[Tensor, ...]],
        local: Tensor | None,
        first: Tensor | None,
    ) -> Tensor:
        """Output of a layer for all tokens, or for the first token of each row.

        Args:
            hidden: (T, H).
            asked: the rows of `hidden` that are computed: all, or those of `first`.
            local: bias of local attention.
            first: positions of `asked` in `hidden`; None: all.
        """
        name, kind = f"model.layers.{number}", self._types[number]
        size, (cos, sin) = hidden.shape[1], turns[kind]
        normed = self._norm(hidden, f"{name}.attn_norm") if number else hidden
        weight = self._tensors[f"{name}.attn.Wqkv.weight"]
        bias = self._tensors.get(f"{name}.attn.Wqkv.bias")
        if first is None:
            parts = F.linear(normed, weight, bias).view(len(hidden), 3, self._heads, -1)
            query, key, value = parts.unbind(1)
            query = _rotated(query, cos, sin)
        else:
            of_query, of_rest = (None, None) if bias is None else (bias[:size], bias[size:])
            query = F.linear(normed[first], weight[:size], of_query).view(len(first), self._heads, -1)
            key, value = (
                F.linear(normed, weight[size:], of_rest).view(len(hidden), 2, self._heads, -1).unbind(1)
            )
            query = _rotated(query, cos[first], sin[first])
        bias = local if kind == _LOCAL else None
        attended = self._operations.attend(
            query, _rotated(key, cos, sin), value, rows, first_only=first is not None, bias=bias
        )
        asked = asked + self._linear(attended.reshape(asked.shape), f"{name}.attn.Wo")
        wide, gate = self._linear(self._norm(asked, f"{name}.mlp_norm"), f"{name}.mlp.Wi").chunk(2, dim=-1)
        return asked + self._linear(F.gelu(wide) * gate, f"{name}.mlp.Wo")

    def _norm(self, hidden: Tensor, name: str) -> Tensor:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors.get(f"{name}.bias")
        return F.layer_norm(hidden, hidden.shape[-1:], weight, bias, self._eps)

    def _linear(self, hidden: Tensor, name: str) -> Tensor:
        return F.linear(hidden, self._tensors[f"{name}.weight"], self._tensors.get(f"{name}.bias"))


def _rotations(theta: float, positions: int, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(P, D) each: cosine and sine of the rotation of each channel of a head, by position."""
    frequencies = 1.0 / (theta ** (torch.arange(0, size, 2, dtype=torch.float) / size))
    angles = torch.arange(positions)[:, None].float() * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _local_bias(window: int, dtype: torch.dtype, tokens: int) -> Tensor:
    """(1, N, N): hides keys that are farther away than the window."""
    place = torch.arange(tokens)
    far = (place - place[:, None]).abs() > window
    return torch.zeros((1, tokens, tokens), dtype=dtype).masked_fill_(far, -torch.inf)


def _rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(T, heads, D): queries or keys, rotated by (T, 1, D) angles."""
    wide = states.float()
    one, two = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat((-two, one), dim=-1) * sin).to(states.dtype)
