"""BERT over rows that lie one after the other: no row is padded, and only what is asked for is computed.

transformers' BERT works on rectangles: short rows are filled up, and attention has a mask. Here the matrix
products go over the tokens of all rows, and attention over each row by itself; see attention.py. The
classifier reads only the first token of each row, so the last layer computes no other.

Source: Devlin et al. 2019, arXiv:1810.04805; as transformers' BertForSequenceClassification.
"""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np

from pipeline.model import pad_token_id
from pipeline.ragged import IntArray, Ragged, Rows, packed_batches, round_up, to_device
from pipeline.score.attention import Operations, choose_operations

_PROBE_LENGTHS = (7, 7, 5, 2, 1)
_PROBE_ATOL = 1e-3


def packs(model: Any) -> bool:
    """Whether `PackedBert` computes what a classifier does: a BERT of the usual kind, as a probe confirms."""
    import torch

    config = model.config
    if type(model).__name__ != "BertForSequenceClassification" or config.is_decoder:
        return False
    if config.hidden_act != "gelu" or next(model.parameters()).device.type != "cpu":
        return False
    lengths = np.minimum(_PROBE_LENGTHS, config.max_position_embeddings)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    ids = Ragged((np.arange(bounds[-1]) % config.vocab_size).astype(np.int32), bounds)
    with torch.inference_mode():
        rows = [torch.from_numpy(ids.values[a:b].astype(np.int64)) for a, b in pairwise(bounds)]
        expected = torch.cat([model(input_ids=row[None]).logits for row in rows])
        packed = PackedModel(model, "float32", "cpu").rows(ids, np.arange(len(lengths)))
        found = packed.logits(0, len(lengths))
    return torch.allclose(found, expected, atol=_PROBE_ATOL, rtol=_PROBE_ATOL)


class PackedModel:
    """A classifier that `packs` says yes to, on its device."""

    def __init__(self, model: Any, precision: str, device: str, *, kernels: bool = False) -> None:
        """Take copies of its float32 weights; see padded.PaddedModel.

        Args:
            kernels: whether to compute with kernels.py on a GPU.
        Raises:
            ModelError: attention for rows of any length, or the kernels, do not work on this GPU.
        """
        import torch

        self.device = device
        self.pad_id = pad_token_id(model)
        heads = model.config.num_attention_heads
        size = model.config.hidden_size // heads
        operations = choose_operations(device, precision, heads, size, kernels=kernels)
        self.model = PackedBert(model, getattr(torch, precision), device, operations)
        layers = model.bert.encoder.layer
        self._layers, self._size = len(layers), model.config.hidden_size
        self._weights = sum(p.numel() for p in layers[0].parameters() if p.dim() == 2)

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
        all_but_last = (self._layers - 1) * (2 * self._weights * tokens + 4 * self._size * pairs)
        keys = 2 * self._size * self._size
        last = 2 * keys * tokens + 2 * (self._weights - keys) * len(lengths) + 4 * self._size * tokens
        pooler = 2 * self._size * self._size * len(lengths)
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
        values, starts, lengths, bounds = (
            to_device(part, model.device) for part in (values, starts, self._lengths, self._ends)
        )
        repeats = {"repeats": lengths, "output_size": int(self._ends[-1])}
        everywhere = torch.arange(repeats["output_size"], device=model.device)
        self._positions = everywhere - torch.repeat_interleave(bounds[:-1], **repeats)
        self._ids = values[torch.repeat_interleave(starts, **repeats) + self._positions].long()
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

    def __init__(self, model: Any, dtype: Any, device: str, operations: Operations) -> None:
        """Take copies of a classifier's weights.

        Args:
            model: one that `packs` says yes to, in float32.
            dtype: of the encoder; its head stays in float32: its few operations cost nothing, and
                probabilities of 8 bits would tie.
        """
        import torch

        bert, config = model.bert, model.config
        self._heads = config.num_attention_heads
        self._eps = config.layer_norm_eps

        def put(*tensors: Any, as_dtype: Any = dtype) -> Any:
            joined = torch.cat([t.detach() for t in tensors]) if len(tensors) > 1 else tensors[0].detach()
            return joined.to(device, as_dtype).contiguous()

        def weights(module: Any, as_dtype: Any = dtype) -> Any:
            return put(module.weight, as_dtype=as_dtype), put(module.bias, as_dtype=as_dtype)

        embeddings = bert.embeddings
        self._words = put(embeddings.word_embeddings.weight)
        self._places = put(embeddings.position_embeddings.weight)
        self._kind = put(embeddings.token_type_embeddings.weight)[0]
        self._norm = weights(embeddings.LayerNorm)
        self._layers = []
        for layer in bert.encoder.layer:
            attention, joined = layer.attention.self, layer.attention.output
            parts = (attention.query, attention.key, attention.value)
            self._layers.append(
                SimpleNamespace(
                    attention=(put(*(p.weight for p in parts)), put(*(p.bias for p in parts))),
                    joined=weights(joined.dense),
                    first_norm=weights(joined.LayerNorm),
                    wide=weights(layer.intermediate.dense),
                    narrow=weights(layer.output.dense),
                    second_norm=weights(layer.output.LayerNorm),
                )
            )
        self._pooler = weights(bert.pooler.dense, torch.float32)
        self._classifier = weights(model.classifier, torch.float32)
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
