"""Device-dependent operations of BERT: attention over packed rows, and the element-wise steps between matrix
products.

There are three implementations of attention: on a CPU, PyTorch's for one row length at a time; on a GPU,
PyTorch's variable-length attention, or kernels.py if autotuning finds that it is faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.arrays import IntArray
from pipeline.errors import ModelError
from pipeline.humanize import first_line
from pipeline.model.ragged import round_up
from pipeline.model.tensors import Rows

_KEYS_STEP = 16
"""In 16-bit precision, attention on a CPU takes up to 1.5 times as long if the number of keys is not a
multiple of this."""

_MIN_BIAS_TOKENS = 128

_COMPARED_LENGTHS = (130, 40, 17, 2)
_COMPARED_TOLERANCE = 0.03
"""Absolute and relative tolerance: a few of the last bits of a bfloat16 number near 1."""


class Attend(Protocol):
    """Attention within each row."""

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rows: Rows,
        *,
        first_only: bool,
        bias: Tensor | None = None,
    ) -> Tensor:
        """See attend_by_length; on a GPU, only without a bias."""
        ...


class PairBias:
    """Bias of attention by the positions of query and key, computed for rows as long as needed so far."""

    def __init__(self, make: Callable[[int], Tensor]) -> None:
        """
        Args:
            make: returns (heads, N, N) or (1, N, N) for a number of tokens N.
        """
        self._make, self._bias = make, make(_MIN_BIAS_TOKENS)

    def upto(self, length: int) -> Tensor:
        """Bias for rows of at most this length."""
        bias = self._bias
        if bias.shape[1] < length:
            # Threads may do this at the same time, with the same result.
            self._bias = bias = self._make(1 << (length - 1).bit_length())
        return bias


@dataclass(frozen=True)
class Operations:
    """Device-dependent operations in a layer of BERT."""

    attend: Attend
    """See attend_by_length."""
    add_norm: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
    """See add_norm."""
    linear_gelu: Callable[[Tensor, Tensor, Tensor], Tensor]
    """See linear_gelu."""
    step: int = 1
    """The numbers of tokens and of rows in a batch are padded to multiples of this."""


def choose_operations(device: str, precision: str, heads: int, size: int, *, kernels: bool) -> Operations:
    """Operations for a device.

    Args:
        heads: number of attention heads.
        size: channels of a head.
        kernels: whether to use kernels.py.
    Raises:
        ModelError: a trial run of the operations failed on this device.
    """
    if device == "cpu":
        return BY_LENGTH
    if precision == "float32":
        raise ModelError("variable-length attention: needs 16-bit precision on a GPU")
    try:
        operations = _of_kernels() if kernels else Operations(_attend_flash, add_norm, linear_gelu)
        check_operations(operations, device, precision, heads, size)
    except Exception as error:  # noqa: BLE001  Compilers and drivers raise errors of any class.
        name = "rayview's kernels" if kernels else "variable-length attention"
        raise ModelError(
            f"{name}: not usable on this GPU ({type(error).__name__}: {first_line(error)})"
        ) from None
    return operations


def _of_kernels() -> Operations:
    # Needs Triton, which only PyTorch's CUDA build includes.
    from pipeline.model import kernels

    return Operations(kernels.attend, kernels.add_norm, kernels.linear_gelu)


def check_operations(found: Operations, device: str, precision: str, heads: int, size: int) -> None:
    """Raise AssertionError unless the operations agree with those for a CPU."""
    lengths = np.array(_COMPARED_LENGTHS, np.int64)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    # The operations read only bounds and lengths.
    no_ids = torch.empty(0, dtype=torch.int64)
    rows = Rows(no_ids, no_ids, torch.from_numpy(bounds.astype(np.int32)).to(device), lengths)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, getattr(torch, precision))

    # Strided, like the result of one matrix product.
    query, key, value = random(int(bounds[-1]), 3, heads, size).unbind(1)
    first = random(len(lengths), heads, size)
    for asked, first_only in ((query, False), (first, True)):
        _assert_close(
            found.attend(asked, key, value, rows, first_only=first_only),
            attend_by_length(asked, key, value, rows, first_only=first_only),
        )
    channels = math.prod(first.shape[1:])
    added, hidden = random(2, 9, channels)
    weight, bias = random(2, channels)
    _assert_close(
        found.add_norm(added, hidden, weight, bias, 1e-12), add_norm(added, hidden, weight, bias, 1e-12)
    )
    hidden, bias = random(9, channels), random(4 * channels)
    weight = random(4 * channels, channels) / math.sqrt(channels)
    _assert_close(found.linear_gelu(hidden, weight, bias), linear_gelu(hidden, weight, bias))


def _assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=_COMPARED_TOLERANCE, rtol=_COMPARED_TOLERANCE)


def add_norm(added: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """(T, H): layer norm of the sum of two (T, H) tensors."""
    return F.layer_norm(added + hidden, hidden.shape[-1:], weight, bias, eps)


def linear_gelu(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(T, W): GELU of a linear layer over a (T, H) tensor."""
    return F.gelu(F.linear(hidden, weight, bias))


def attend_by_length(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, *, first_only: bool, bias: Tensor | None = None
) -> Tensor:
    """Attention within each row; rows of the same length are computed together.

    Args:
        query: (T, heads, D), or with `first_only` (B, heads, D), one query per row; padding may follow.
        key, value: (T, heads, D); padding may follow.
        bias: (heads, N, N) or (1, N, N): added to the score of a query and a key, by their positions in the
            row, which is not longer than N. None: nothing is added.
    Returns:
        Tensor with the shape of `query`; zero for padding.
    """
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    row = token = 0
    for count, length in _runs(rows.lengths):
        end = token + count * length
        asked = slice(row, row + count) if first_only else slice(token, end)
        q, k, v = (
            part.view(count, -1, *part.shape[1:]) for part in (query[asked], key[token:end], value[token:end])
        )
        mask, width = None, round_up(length, _KEYS_STEP)
        if bias is not None:
            mask = bias[None, :, : 1 if first_only else length, :length]
        if key.device.type == "cpu" and key.element_size() == 2 and length < width < 2 * length:
            k, v = (F.pad(part, (0, 0, 0, 0, 0, width - length)) for part in (k, v))
            hidden = _hide_from(length, width, query.dtype)
            mask = hidden if mask is None else F.pad(mask, (0, width - length), value=-torch.inf)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out[asked].view(count, -1, *query.shape[1:]).copy_(found.transpose(1, 2))
        row, token = row + count, end
    out[row if first_only else token :].zero_()
    return out


@lru_cache(maxsize=1024)
def _hide_from(length: int, width: int, dtype: torch.dtype) -> Tensor:
    """(1, 1, 1, W): additive mask that hides all keys from index `length` on."""
    return torch.zeros((1, 1, 1, width), dtype=dtype).index_fill_(3, torch.arange(length, width), -torch.inf)


def _runs(lengths: IntArray) -> list[tuple[int, int]]:
    """Number of rows and length of each run of consecutive rows with equal lengths."""
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    counts = np.diff(starts, append=len(lengths))
    return list(zip(counts.tolist(), lengths[starts].tolist(), strict=True))


def _attend_flash(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, *, first_only: bool, bias: Tensor | None = None
) -> Tensor:
    """See attend_by_length; needs an Ampere or newer GPU, 16-bit precision, and PyTorch 2.10 or newer."""
    assert bias is None
    # Missing in PyTorch before 2.10.
    from torch.nn.attention.varlen import varlen_attn

    bounds, max_length = rows.bounds, int(rows.lengths[0])
    asked, max_asked = bounds, max_length
    if first_only:
        asked, max_asked = torch.arange(len(bounds), device=bounds.device, dtype=bounds.dtype), 1
    found = varlen_attn(query, key, value, asked, bounds, max_asked, max_length)
    # A tuple only if additional outputs are requested.
    assert isinstance(found, Tensor)
    return found


BY_LENGTH = Operations(attend_by_length, add_norm, linear_gelu, step=32)
"""Each new shape costs oneDNN a few milliseconds, in total a tenth of a short job. It multiplies in tiles of
rows, so padding to a multiple of 32 is not slower."""
