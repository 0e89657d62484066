"""Any classifier of transformers, on rectangles of token ids: short rows are filled up on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.arrays import IntArray
from pipeline.errors import ModelError
from pipeline.model.load import pad_token_id
from pipeline.model.ragged import Ragged, padded_width, token_budget_batches
from pipeline.model.tensors import to_device

_PROBE_IDS = ((1, 2, 3, 4), (4, 3, 2, 1))
"""Rows to see what kind of mask a model takes; any ids do."""


class PaddedModel:
    """A classifier in evaluation mode, on its device."""

    def __init__(self, model: Any, precision: str, device: str, max_length: int, *, compiled: bool) -> None:
        """Take over a float32 classifier; its weights are changed in place.

        Args:
            precision: float32 or bfloat16.
            max_length: the most ids that the model takes in a row.
        """
        self.device, self.max_length, self.classes = device, max_length, model.config.num_labels
        self.pad_id = pad_token_id(model)
        self.model = _in_precision(model, precision).to(device)
        self.mask = _mask_of(self.model, device)
        if compiled:
            # One graph for batches of any shape.
            self.model.compile(dynamic=True)
            _try_compiled(self.model, device)

    def cut(self, lengths: IntArray, batch_tokens: int) -> list[IntArray]:
        """See `token_budget_batches`."""
        return token_budget_batches(lengths, batch_tokens, self.max_length)

    def rows(self, ids: Ragged, order: IntArray) -> PaddedRows:
        """Rows in an order of falling length, on the device."""
        return PaddedRows(self, ids, order)

    def flops(self, lengths: IntArray) -> float:
        """Multiplications and additions that rows of (N,) lengths need, without padding.

        Of the matrix products alone: two a weight and token, and in attention four a channel, layer and pair
        of tokens.

        Source: Kaplan et al. 2020, arXiv:2001.08361, table 1 (forward pass), embeddings left out.
        """
        named = self.model.base_model.named_parameters()
        weights = sum(p.numel() for name, p in named if p.dim() == 2 and "embedding" not in name)
        config = self.model.config
        channels = getattr(config, "num_hidden_layers", 0) * getattr(config, "hidden_size", 0)
        return float(2 * weights * lengths.sum() + 4 * channels * (lengths * lengths).sum())


class PaddedRows:
    """The rows of a chunk on the device."""

    def __init__(self, model: PaddedModel, ids: Ragged, order: IntArray) -> None:
        """Send them there."""
        self._model = model
        self._host_lengths = ids.lengths[order]
        self._values = to_device(ids.values, model.device)
        self._starts = to_device(ids.offsets[:-1][order], model.device)
        self._lengths = to_device(self._host_lengths, model.device)

    def tokens(self, start: int, stop: int) -> int:
        """Ids that some rows make the model compute, padding included."""
        return self._width(start) * (stop - start)

    def logits(self, start: int, stop: int) -> Any:
        """(B, C) float32 on the device."""
        import torch

        model, width = self._model, self._width(start)
        column = torch.arange(width, device=model.device)
        lengths = self._lengths[start:stop, None]
        places = self._starts[start:stop, None] + column
        if int(self._host_lengths[stop - 1]) == width:
            # No row is padded: without a mask attention takes a faster way.
            ids, mask = self._values[places].long(), None
        else:
            is_token = column < lengths
            ids = self._values[places.clamp_(max=len(self._values) - 1)].long()
            ids.masked_fill_(~is_token, model.pad_id)
            mask = model.mask(is_token)
        return model.model(input_ids=ids, attention_mask=mask).logits.float()

    def _width(self, start: int) -> int:
        """Of the batch that begins with a row, which is its longest."""
        return padded_width(int(self._host_lengths[start]), self._model.max_length)


def _try_compiled(model: Any, device: str) -> None:
    """Raise ModelError if a model that is to be compiled cannot be: that shows at its first call."""
    import torch

    try:
        with torch.inference_mode():
            model(input_ids=torch.tensor(_PROBE_IDS, device=device), attention_mask=None)
    except Exception as error:  # noqa: BLE001  The compiler, or the system's, raises whatever it likes.
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"torch.compile: does not work here ({type(error).__name__}: {reason}); leave out score.compile,"
            " or, if only run.json has it, begin again with --overwrite"
        ) from None


def _in_precision(model: Any, precision: str) -> Any:
    """The encoder's weights in bfloat16, if so asked; the head stays in float32: its few operations cost
    nothing, and probabilities of 8 bits would tie."""
    import torch

    if precision == "float32":
        return model
    encoder = model.base_model
    encoder.to(torch.bfloat16)
    for part in model.children():
        if part is not encoder:
            part.register_forward_pre_hook(_to_float32)
    return model


def _to_float32(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.float() if a.is_floating_point() else a for a in arguments)


def _plain_mask(is_token: Any) -> Any:
    """(B, L) as tokenizers make it: 1 for a token, 0 for padding."""
    return is_token.long()


def _mask_of(model: Any, device: str) -> Callable[[Any], Any]:
    """How a model is told which ids are tokens: what is added to the scores of attention, if it takes that.

    From a mask of rows a model makes this itself, but once a layer, and on a GPU it first waits for all
    that goes before, to see whether any row is padded.
    """
    import torch

    dtype = next(model.base_model.parameters()).dtype

    def added(is_token: Any) -> Any:
        zeros = torch.zeros((), dtype=dtype, device=device)
        lowest = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=device)
        width = is_token.shape[1]
        return torch.where(is_token[:, None, None, :], zeros, lowest).expand(-1, 1, width, -1)

    ids = torch.tensor(_PROBE_IDS, device=device)
    is_token = torch.tensor([[True] * 4, [True, True, False, False]], device=device)
    with torch.inference_mode():
        plain = model(input_ids=ids, attention_mask=_plain_mask(is_token)).logits
        try:
            other = model(input_ids=ids, attention_mask=added(is_token)).logits
        except (ValueError, RuntimeError, IndexError, TypeError):
            return _plain_mask
    return added if torch.allclose(plain, other, atol=1e-3, rtol=1e-3) else _plain_mask
