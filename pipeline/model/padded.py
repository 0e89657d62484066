"""Any classifier of transformers, on batches that are padded on the device."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import IntArray
from pipeline.errors import ModelError
from pipeline.humanize import first_line
from pipeline.model.load import pad_token_id
from pipeline.model.ragged import Ragged, padded_width, token_budget_batches
from pipeline.model.tensors import to_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PROBE_IDS = ((1, 2, 3, 4), (4, 3, 2, 1))
"""Two rows with arbitrary IDs, to determine whether a model can be compiled."""

_PROBE_TOKENS, _PROBE_IDS_UP_TO, _PROBE_TOLERANCE = 256, 1000, 1e-5
"""Length of the two rows that determine which masks a model accepts, limit of their IDs, and tolerance of the
logits."""


class PaddedModel:
    """Classifier in evaluation mode, on its device."""

    def __init__(
        self, model: PreTrainedModel, precision: str, device: str, max_length: int, *, compiled: bool
    ) -> None:
        """Move a float32 classifier to the device; its weights are changed in place.

        Args:
            precision: float32 or bfloat16.
            max_length: maximum number of IDs in a row that the model supports.
        Raises:
            ModelError: `compiled` is set, but torch.compile does not work on this machine.
        """
        self.device, self.max_length, self.classes = device, max_length, model.config.num_labels
        self.pad_id = pad_token_id(model)
        self.is_single = not _accepts_batches(model)
        """Whether a batch is one row without padding, because the model would take padding for its text."""
        is_additive = not self.is_single and _accepts_additive_mask(model, max_length)
        self.model = _in_precision(model, precision).to(device)
        dtype = next(self.model.base_model.parameters()).dtype
        self.mask = partial(_additive_mask, dtype=dtype) if is_additive else _plain_mask
        if compiled:
            # Dynamic: one graph for batches of any shape.
            self.model.compile(dynamic=True)
            _try_compiled(self.model, device)

    def cut(self, lengths: IntArray, batch_tokens: int) -> list[IntArray]:
        """See `token_budget_batches`."""
        if self.is_single:
            return list(np.argsort(-lengths, kind="stable")[:, None])
        return token_budget_batches(lengths, batch_tokens, self.max_length)

    def rows(self, ids: Ragged, order: IntArray) -> PaddedRows:
        """Rows in an order of descending length, on the device."""
        return PaddedRows(self, ids, order)

    def flops(self, lengths: IntArray) -> float:
        """Multiplications and additions that rows of (N,) lengths need, without padding.

        Counts only matrix products: two operations per weight and token, and in attention four per channel,
        layer and pair of tokens.

        Source: Kaplan et al. 2020, arXiv:2001.08361, table 1 (forward pass), without embeddings.
        """
        named = self.model.base_model.named_parameters()
        weights = sum(p.numel() for name, p in named if p.dim() == 2 and "embedding" not in name)
        config = self.model.config
        channels = getattr(config, "num_hidden_layers", 0) * getattr(config, "hidden_size", 0)
        return float(2 * weights * lengths.sum() + 4 * channels * (lengths * lengths).sum())


class PaddedRows:
    """The rows of a chunk on the device."""

    def __init__(self, model: PaddedModel, ids: Ragged, order: IntArray) -> None:
        """Copy the rows to the device."""
        self._model = model
        self._host_lengths = ids.lengths[order]
        self._values = to_device(ids.values, model.device)
        self._starts = to_device(ids.offsets[:-1][order], model.device)
        self._lengths = to_device(self._host_lengths, model.device)

    def tokens(self, start: int, stop: int) -> int:
        """Tokens that the model computes for rows `start` to `stop`, including padding."""
        return self._width(start) * (stop - start)

    def logits(self, start: int, stop: int) -> Tensor:
        """(B, C) float32 on the device: logits of rows `start` to `stop`."""
        model, width = self._model, self._width(start)
        column = torch.arange(width, device=model.device)
        lengths = self._lengths[start:stop, None]
        places = self._starts[start:stop, None] + column
        if int(self._host_lengths[stop - 1]) == width:
            # If no row is padded, attention is faster without a mask.
            ids, mask = self._values[places].long(), None
        else:
            is_token = column < lengths
            ids = self._values[places.clamp_(max=len(self._values) - 1)].long()
            ids.masked_fill_(~is_token, model.pad_id)
            mask = model.mask(is_token)
        logits: Tensor = model.model(input_ids=ids, attention_mask=mask).logits.float()
        return logits

    def _width(self, start: int) -> int:
        """Width of the batch that starts with this row, which is the longest."""
        longest = int(self._host_lengths[start])
        return max(1, longest) if self._model.is_single else padded_width(longest, self._model.max_length)


def _try_compiled(model: PreTrainedModel, device: str) -> None:
    """Raise ModelError if a model cannot be compiled; torch.compile compiles it on the first call."""
    try:
        with torch.inference_mode():
            model(input_ids=torch.tensor(_PROBE_IDS, device=device), attention_mask=None)
    except Exception as error:  # noqa: BLE001  The compilers raise errors of any class.
        raise ModelError(
            f"torch.compile: does not work here ({type(error).__name__}: {first_line(error)}); do not set"
            " score.compile, or, if autotuning chose it, start over with --overwrite"
        ) from None


def _in_precision(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """The model with its encoder in `precision`. The head stays in float32: it costs next to nothing, and
    probabilities with 8 significant bits would tie."""
    if precision == "float32":
        return model
    encoder = model.base_model
    encoder.to(torch.bfloat16)
    for part in model.children():
        if part is not encoder:
            part.register_forward_pre_hook(_to_float32)
    return model


def _to_float32(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(a.float() if a.is_floating_point() else a for a in arguments)


def _plain_mask(is_token: Tensor) -> Tensor:
    """(B, L) int64, as from a tokenizer: 1 for a token, 0 for padding."""
    return is_token.long()


def _additive_mask(is_token: Tensor, *, dtype: torch.dtype) -> Tensor:
    """(B, 1, L, L): added to the attention scores."""
    zeros = torch.zeros((), dtype=dtype, device=is_token.device)
    lowest = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=is_token.device)
    width = is_token.shape[1]
    return torch.where(is_token[:, None, None, :], zeros, lowest).expand(-1, 1, width, -1)


def _accepts_batches(model: PreTrainedModel) -> bool:
    """Whether a model tells padding from text: a decoder needs a padding ID for it."""
    ids = torch.tensor(_PROBE_IDS)
    try:
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except ValueError:
        return False
    return True


def _accepts_additive_mask(model: PreTrainedModel, max_length: int) -> bool:
    """Whether a float32 model gives the same logits with an additive mask.

    From a plain mask, a model creates the additive mask itself, but once per layer; and on a GPU it first
    waits for all queued work, to check whether any row is padded. But models whose attention is causal or
    local would lose that with a mask of their own.
    """
    # Long enough for the windows of local attention.
    width = min(_PROBE_TOKENS, max_length)
    count = int(model.config.get_text_config().vocab_size)
    ids = torch.arange(2 * width).view(2, width) % max(1, min(count, _PROBE_IDS_UP_TO) - 1) + 1
    is_token = torch.arange(width) < torch.tensor([[width], [max(1, width - 3)]])
    with torch.inference_mode():
        plain = model(input_ids=ids, attention_mask=_plain_mask(is_token)).logits
        try:
            other = model(input_ids=ids, attention_mask=_additive_mask(is_token, dtype=torch.float32)).logits
        except (ValueError, RuntimeError, IndexError, TypeError):
            return False
    return torch.allclose(plain, other, atol=_PROBE_TOLERANCE, rtol=_PROBE_TOLERANCE)
