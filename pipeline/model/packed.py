"""BERT over rows that lie one after the other: no row is padded, and only what is asked for is computed.

transformers' BERT works on rectangles: short rows are filled up, and attention has a mask. Here the matrix
products go over the tokens of all rows, and attention over each row by itself; see attention.py. The
classifier reads only the first token of each row, so the last layer computes no other.

Source: Devlin et al. 2019, arXiv:1810.04805; as transformers' BertForSequenceClassification.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from pipeline.arrays import IntArray
from pipeline.model.attention import Operations, choose_operations
from pipeline.model.bert_weights import BertCheckpoint
from pipeline.model.ragged import Ragged, packed_batches, round_up
from pipeline.model.tensors import Rows, to_device


class PackedModel:
    """A BERT classifier on its device."""

    def __init__(
        self, checkpoint: BertCheckpoint, precision: str, device: str, *, kernels: bool = False
    ) -> None:
        """Put the weights there.

        Args:
            precision: float32 or bfloat16.
            kernels: whether to compute with kernels.py on a GPU.
        Raises:
            ModelError: attention for rows of any length, or the kernels, do not work on this GPU.
        """
        import torch

        self.device = device
        self.pad_id, self.classes = checkpoint.pad_id, checkpoint.classes
        self._layers, self._hidden = checkpoint.layers, checkpoint.hidden
        heads = checkpoint.heads
        operations = choose_operations(device, precision, heads, self._hidden // heads, kernels=kernels)
        self.model = PackedBert(checkpoint, getattr(torch, precision), device, operations)
        first = [t for name, t in checkpoint.tensors.items() if ".layer.0." in name]
        self._weights = sum(t.numel() for t in first if t.dim() == 2)

    def cut(self, lengths: IntArray, batch_tokens: int) -> list[IntArray]:
        """See `packed_batches`."""
        return packed_batches(np.maximum(lengths, 1), batch_tokens)

    def rows(self, ids: Ragged, order: IntArray) -> PackedRows:
        """Rows in an order of falling length, on the device."""
        return PackedRows(self, ids, order)

    def flops(self, lengths: IntArray) -> float:
        """Multiplications and additions for rows of (N,) lengths; see PaddedModel.flops.

        In the last layer all tokens have a key and a value, and only the first of each row has the rest.
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
        """Send them there, and put them in order."""
        import torch

        self._model = model
        # A row without ids gets one of padding, as it would in a padded batch.
        lengths = ids.lengths[order]
        starts = np.where(lengths, ids.offsets[:-1][order], len(ids.values))
        values = np.append(ids.values, np.int32(model.pad_id))
        self._lengths = np.maximum(lengths, 1)
        self._ends = np.concatenate([[0], np.cumsum(self._lengths)])
        on_device = partial(to_device, device=model.device)
        lengths_there, bounds = on_device(self._lengths), on_device(self._ends)
        total = int(self._ends[-1])
        repeat = partial(torch.repeat_interleave, repeats=lengths_there, output_size=total)
        self._positions = torch.arange(total, device=model.device) - repeat(bounds[:-1])
        self._ids = on_device(values)[repeat(on_device(starts)) + self._positions].long()
        self._bounds = bounds.int()

    def tokens(self, start: int, stop: int) -> int:
        """Ids that some rows make the model compute."""
        return round_up(int(self._ends[stop] - self._ends[start]), self._model.model.step)

    def logits(self, start: int, stop: int) -> Any:
        """(B, C) float32 on the device."""
        from torch.nn import functional as f

        first, end = int(self._ends[start]), int(self._ends[stop])
        bounds = self._bounds[start : stop + 1] - first
        more = (0, self.tokens(start, stop) - (end - first))
        ids = f.pad(self._ids[first:end], more, value=self._model.pad_id)
        positions = f.pad(self._positions[first:end], more)
        return self._model.model(Rows(ids, positions, bounds, self._lengths[start:stop]))


class PackedBert:
    """A BERT classifier in evaluation mode."""

    def __init__(self, checkpoint: BertCheckpoint, dtype: Any, device: str, operations: Operations) -> None:
        """Put the weights on a device.

        Args:
            dtype: of the encoder; its head stays in float32: its few operations cost nothing, and
                probabilities of 8 bits would tie.
        """
        import torch

        self._heads, self._eps = checkpoint.heads, checkpoint.eps

        def put(*tensors: Any, as_dtype: Any = dtype) -> Any:
            joined = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
            # What is left in the mapped file, and so shared, is at most an encoder of the same precision.
            return joined.to(device, as_dtype, copy=as_dtype != dtype).contiguous()

        def weights(*modules: tuple[Any, Any], as_dtype: Any = dtype) -> tuple[Any, Any]:
            weight, bias = zip(*modules, strict=True)
            return put(*weight, as_dtype=as_dtype), put(*bias, as_dtype=as_dtype)

        self._words = put(checkpoint.embedding("word"))
        self._places = put(checkpoint.embedding("position"))
        self._kind = put(checkpoint.embedding("token_type"))[0]
        self._norm = weights(checkpoint.embedding_norm())
        self._layers = []
        for number in range(checkpoint.layers):
            in_layer = partial(checkpoint.in_layer, number)
            self._layers.append(
                SimpleNamespace(
                    attention=weights(*(in_layer(f"attention.self.{n}") for n in ("query", "key", "value"))),
                    joined=weights(in_layer("attention.output.dense")),
                    first_norm=weights(in_layer("attention.output.LayerNorm")),
                    wide=weights(in_layer("intermediate.dense")),
                    narrow=weights(in_layer("output.dense")),
                    second_norm=weights(in_layer("output.LayerNorm")),
                )
            )
        self._pooler = weights(checkpoint.module("bert.pooler.dense"), as_dtype=torch.float32)
        self._classifier = weights(checkpoint.module("classifier"), as_dtype=torch.float32)
        self._operations = operations
        self.step = operations.step

    def __call__(self, rows: Rows) -> Any:
        """(B, C) float32: the logits of B rows.

        Args:
            rows: their T tokens may have others behind them, which change nothing.
        """
        from torch.nn import functional as f

        hidden = self._words[rows.ids] + self._kind + self._places[rows.positions]
        weight, bias = self._norm
        hidden = f.layer_norm(hidden, hidden.shape[-1:], weight, bias, self._eps)
        for layer in self._layers[:-1]:
            hidden = self._after(layer, self._attention(layer, hidden, rows), hidden)
        hidden = self._last(self._layers[-1], hidden, rows)
        pooled = f.linear(hidden.float(), *self._pooler).tanh_()
        return f.linear(pooled, *self._classifier)[: len(rows.lengths)]

    def _attention(self, layer: Any, hidden: Any, rows: Rows) -> Any:
        from torch.nn import functional as f

        parts = f.linear(hidden, *layer.attention).view(len(hidden), 3, self._heads, -1)
        return self._operations.attend(parts[:, 0], parts[:, 1], parts[:, 2], rows, first_only=False)

    def _last(self, layer: Any, hidden: Any, rows: Rows) -> Any:
        """(B, H): what a layer makes of the first token of each row; B is rounded up."""
        from torch.nn import functional as f

        weight, bias = layer.attention
        size = hidden.shape[1]
        count = len(rows.lengths)
        first = hidden[f.pad(rows.bounds[:-1].long(), (0, round_up(count, self.step) - count))]
        query = f.linear(first, weight[:size], bias[:size]).view(len(first), self._heads, -1)
        parts = f.linear(hidden, weight[size:], bias[size:]).view(len(hidden), 2, self._heads, -1)
        attend = self._operations.attend
        attended = attend(query, parts[:, 0], parts[:, 1], rows, first_only=True)
        return self._after(layer, attended, first)

    def _after(self, layer: Any, attended: Any, hidden: Any) -> Any:
        """What follows attention, the same for each token."""
        from torch.nn import functional as f

        operations = self._operations
        attended = f.linear(attended.reshape(hidden.shape), *layer.joined)
        hidden = operations.add_norm(attended, hidden, *layer.first_norm, self._eps)
        wide = operations.linear_gelu(hidden, *layer.wide)
        return operations.add_norm(f.linear(wide, *layer.narrow), hidden, *layer.second_norm, self._eps)
