"""Encoders over packed rows: no row is padded, and only values that the logits depend on are computed.

transformers computes rectangular batches: short rows are padded, and attention is masked. Here the rows
are concatenated: matrix products run over the tokens of all rows, and attention within each row; see
attention.py. The classifier reads only the first token of each row, so the last layer computes only that.

Equivalent to the classes of transformers that families.py names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.arrays import IntArray
from pipeline.errors import ModelError
from pipeline.model.attention import Operations, PairBias, choose_operations
from pipeline.model.encoder_weights import EncoderCheckpoint, Weights
from pipeline.model.families import LAYER_MODULES, RELATIVE_BUCKETS, HeadActivation
from pipeline.model.modern import ModernCheckpoint, ModernEncoder
from pipeline.model.ragged import Ragged, packed_batches, round_up
from pipeline.model.tensors import Rows, to_device

_ACTIVATIONS: dict[HeadActivation, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": F.relu,
    "gelu": F.gelu,
}


class PackedModel:
    """A classifier on its device."""

    def __init__(
        self,
        checkpoint: EncoderCheckpoint | ModernCheckpoint,
        precision: str,
        device: str,
        *,
        kernels: bool = False,
    ) -> None:
        """Copy the weights to the device.

        Args:
            precision: float32 or bfloat16.
            kernels: whether to compute with kernels.py on a GPU.
        Raises:
            ModelError: variable-length attention, or the kernels, do not work on this GPU.
        """
        self.device = device
        self.pad_id, self.classes = checkpoint.pad_id, checkpoint.classes
        self._layers, self._hidden = checkpoint.layers, checkpoint.hidden
        heads = checkpoint.heads
        operations = choose_operations(device, precision, heads, self._hidden // heads, kernels=kernels)
        self.pads_shift_positions = checkpoint.pads_shift_positions
        dtype = getattr(torch, precision)
        self.model: PackedEncoder | ModernEncoder
        if isinstance(checkpoint, ModernCheckpoint):
            self.model = ModernEncoder(checkpoint, dtype, device, operations)
        else:
            self.model = PackedEncoder(checkpoint, dtype, device, operations)
        self._weights = checkpoint.layer_weights

    def cut(self, lengths: IntArray, batch_tokens: int) -> list[IntArray]:
        """See `packed_batches`."""
        return packed_batches(np.maximum(lengths, 1), batch_tokens)

    def rows(self, ids: Ragged, order: IntArray) -> PackedRows:
        """Rows in an order of descending length, on the device."""
        return PackedRows(self, ids, order)

    def flops(self, lengths: IntArray) -> float:
        """Multiplications and additions for rows of (N,) lengths; see PaddedModel.flops.

        The last layer computes keys and values of all tokens, and everything else only for the first token
        of each row.
        """
        tokens, pairs = float(lengths.sum()), float((lengths * lengths).sum())
        all_but_last = (self._layers - 1) * (2 * self._weights * tokens + 4 * self._hidden * pairs)
        keys = 2 * self._hidden * self._hidden
        last = 2 * keys * tokens + 2 * (self._weights - keys) * len(lengths) + 4 * self._hidden * tokens
        pooler = 2 * self._hidden * self._hidden * len(lengths)
        return float(all_but_last + last + pooler)


class PackedRows:
    """The rows of a chunk on the device."""

    def __init__(self, model: PackedModel, ids: Ragged, order: IntArray) -> None:
        """Copy the rows to the device and sort them there."""
        self._model = model
        # A row without IDs gets one padding ID, as in a padded batch.
        lengths = ids.lengths[order]
        starts = np.where(lengths, ids.offsets[:-1][order], len(ids.values))
        values = np.append(ids.values, np.int32(model.pad_id))
        self._lengths = np.maximum(lengths, 1)
        self._ends = np.concatenate([[0], np.cumsum(self._lengths)])
        on_device = partial(to_device, device=model.device)
        device_lengths, bounds = on_device(self._lengths), on_device(self._ends)
        total = int(self._ends[-1])
        repeat = partial(torch.repeat_interleave, repeats=device_lengths, output_size=total)
        self._positions = torch.arange(total, device=model.device) - repeat(bounds[:-1])
        self._ids = on_device(values)[repeat(on_device(starts)) + self._positions].long()
        if model.pads_shift_positions:
            is_text = (self._ids != model.pad_id).long()
            count = F.pad(is_text.cumsum(0), (1, 0))
            self._positions = (count[1:] - repeat(count[bounds[:-1]])) * is_text + model.pad_id
        self._bounds = bounds.int()

    def tokens(self, start: int, stop: int) -> int:
        """Tokens that the model computes for rows `start` to `stop`, including padding."""
        return round_up(int(self._ends[stop] - self._ends[start]), self._model.model.step)

    def logits(self, start: int, stop: int) -> Tensor:
        """(B, C) float32 on the device: logits of rows `start` to `stop`."""
        first, end = int(self._ends[start]), int(self._ends[stop])
        bounds = self._bounds[start : stop + 1] - first
        padding = (0, self.tokens(start, stop) - (end - first))
        ids = F.pad(self._ids[first:end], padding, value=self._model.pad_id)
        positions = F.pad(self._positions[first:end], padding)
        return self._model.model(Rows(ids, positions, bounds, self._lengths[start:stop]))


@dataclass(frozen=True)
class _Layer:
    """Weight and bias of each module of an encoder layer."""

    query_key_value: Weights
    """Three linear layers, concatenated."""
    attention_output: Weights
    attention_norm: Weights
    intermediate: Weights
    output: Weights
    output_norm: Weights


class PackedEncoder:
    """A classifier in evaluation mode."""

    def __init__(
        self, checkpoint: EncoderCheckpoint, dtype: torch.dtype, device: str, operations: Operations
    ) -> None:
        """Copy the weights to a device.

        Args:
            dtype: dtype of the encoder. The head stays in float32: it costs next to nothing, and
                probabilities with 8 significant bits would tie.
        """
        self._heads, self._eps = checkpoint.heads, checkpoint.eps

        def put(*tensors: Tensor, as_dtype: torch.dtype = dtype) -> Tensor:
            joined = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
            # Weights with an unchanged dtype stay in the memory-mapped file, which all actors share.
            return joined.to(device, as_dtype, copy=as_dtype != dtype).contiguous()

        def weights(*modules: Weights, as_dtype: torch.dtype = dtype) -> Weights:
            weight, bias = zip(*modules, strict=True)
            return put(*weight, as_dtype=as_dtype), put(*bias, as_dtype=as_dtype)

        def layer(number: int) -> _Layer:
            module = partial(checkpoint.in_layer, number)
            return _Layer(
                query_key_value=weights(*map(module, ("query", "key", "value"))),
                **{name: weights(module(name)) for name in LAYER_MODULES[3:]},
            )

        self._words = put(checkpoint.words())
        self._places = put(checkpoint.positions())
        types, projection = checkpoint.token_types(), checkpoint.projection()
        self._kind = None if types is None else put(types)[0]
        self._norm = weights(checkpoint.embedding_norm())
        self._projection = None if projection is None else weights(projection)
        self._layers = [layer(number) for number in range(checkpoint.layers)]
        self._pooler, self._classifier = (
            weights(linear, as_dtype=torch.float32) for linear in checkpoint.head()
        )
        self._activate = _ACTIVATIONS[checkpoint.family.activation]
        table = checkpoint.relative_bias()
        if table is not None and device != "cpu":
            raise ModelError("relative positions: not available without padding on a GPU")
        self._pairs = None if table is None else PairBias(partial(_relative_bias, put(table)))
        self._operations = operations
        self.step = operations.step

    def __call__(self, rows: Rows) -> Tensor:
        """(B, C) float32: logits of B rows.

        Args:
            rows: packed rows; additional tokens at the end do not affect the result.
        """
        hidden = self._words[rows.ids]
        if self._kind is not None:
            hidden = hidden + self._kind
        hidden = hidden + self._places[rows.positions]
        weight, bias = self._norm
        hidden = F.layer_norm(hidden, hidden.shape[-1:], weight, bias, self._eps)
        if self._projection is not None:
            hidden = F.linear(hidden, *self._projection)
        pairs = None if self._pairs is None else self._pairs.upto(int(rows.lengths[0]))
        for layer in self._layers[:-1]:
            hidden = self._after(layer, self._attention(layer, hidden, rows, pairs), hidden)
        hidden = self._last(self._layers[-1], hidden, rows, pairs)
        pooled = self._activate(F.linear(hidden.float(), *self._pooler))
        return F.linear(pooled, *self._classifier)[: len(rows.lengths)]

    def _attention(self, layer: _Layer, hidden: Tensor, rows: Rows, pairs: Tensor | None) -> Tensor:
        parts = F.linear(hidden, *layer.query_key_value).view(len(hidden), 3, self._heads, -1)
        attend = self._operations.attend
        return attend(parts[:, 0], parts[:, 1], parts[:, 2], rows, first_only=False, bias=pairs)

    def _last(self, layer: _Layer, hidden: Tensor, rows: Rows, pairs: Tensor | None) -> Tensor:
        """(B, H): output of a layer for the first token of each row; B is rounded up."""
        weight, bias = layer.query_key_value
        size = hidden.shape[1]
        count = len(rows.lengths)
        first = hidden[F.pad(rows.bounds[:-1].long(), (0, round_up(count, self.step) - count))]
        query = F.linear(first, weight[:size], bias[:size]).view(len(first), self._heads, -1)
        parts = F.linear(hidden, weight[size:], bias[size:]).view(len(hidden), 2, self._heads, -1)
        attend = self._operations.attend
        attended = attend(query, parts[:, 0], parts[:, 1], rows, first_only=True, bias=pairs)
        return self._after(layer, attended, first)

    def _after(self, layer: _Layer, attended: Tensor, hidden: Tensor) -> Tensor:
        """Part of a layer after attention, which is applied to each token independently."""
        operations = self._operations
        attended = F.linear(attended.reshape(hidden.shape), *layer.attention_output)
        hidden = operations.add_norm(attended, hidden, *layer.attention_norm, self._eps)
        wide = operations.linear_gelu(hidden, *layer.intermediate)
        return operations.add_norm(F.linear(wide, *layer.output), hidden, *layer.output_norm, self._eps)


_FARTHEST = 128
"""Distance from which all tokens are in one group."""


def _relative_bias(table: Tensor, tokens: int) -> Tensor:
    """(heads, N, N): bias for each pair of a query and a key; see MPNetEncoder.compute_position_bias.

    Args:
        table: (R, heads). Half of the groups are keys after the query. Half of these are single distances,
            the others grow exponentially.
    """
    place = torch.arange(tokens)
    ahead = place - place[:, None]
    sides = RELATIVE_BUCKETS // 2
    exact, distance = sides // 2, ahead.abs()
    growth = torch.log(distance.float() / exact) / math.log(_FARTHEST / exact) * (sides - exact)
    far = (exact + growth.clamp_(min=0).long()).clamp_(max=sides - 1)
    group = (ahead > 0).long() * sides + torch.where(distance < exact, distance, far)
    return table[group].permute(2, 0, 1).contiguous()
