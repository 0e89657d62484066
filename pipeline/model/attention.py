"""What packed.py computes with besides matrix products: attention for rows that lie one after the other, and
what comes between the products.

There are three kinds: PyTorch's usual attention over the rows of one length at a time, on a CPU; its variant
for rows of any length, on a GPU; and kernels.py, which a long job takes on a GPU where it is faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pipeline.arrays import IntArray
from pipeline.errors import ModelError
from pipeline.model.ragged import round_up
from pipeline.model.tensors import Rows

_KEYS_STEP = 16
"""In 16 bits, a CPU takes up to half as long again for a number of keys that is no multiple of it."""

_COMPARED_LENGTHS = (130, 40, 17, 2)
_COMPARED_ATOL = 0.03
"""Of numbers around 1 in bfloat16: a few of its last bits."""


@dataclass(frozen=True)
class Operations:
    """What depends on the device in a layer of BERT."""

    attend: Callable[..., Any]
    """See attend_by_length."""
    add_norm: Callable[..., Any]
    """See add_norm."""
    linear_gelu: Callable[..., Any]
    """See linear_gelu."""
    step: int = 1
    """Tokens and rows of a batch are filled up to multiples of it."""


def choose_operations(device: str, precision: str, heads: int, size: int, *, kernels: bool) -> Operations:
    """The operations for attention of so many heads and channels.

    Args:
        kernels: whether to take those of kernels.py.
    Raises:
        ModelError: they do not work here, as a trial showed.
    """
    if device == "cpu":
        return BY_LENGTH
    if precision == "float32":
        raise ModelError("attention for rows of any length: a GPU has it in 16 bits only")
    try:
        found = _of_kernels() if kernels else Operations(_attend_flash, add_norm, linear_gelu)
        check_operations(found, device, precision, heads, size)
    except Exception as error:  # noqa: BLE001  Compilers and drivers raise whatever they like.
        name = "rayview's kernels" if kernels else "attention for rows of any length"
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{name}: do not work on this GPU ({type(error).__name__}: {reason})") from None
    return found


def _of_kernels() -> Operations:
    from pipeline.model import kernels

    return Operations(kernels.attend, kernels.add_norm, kernels.linear_gelu)


def check_operations(found: Operations, device: str, precision: str, heads: int, size: int) -> None:
    """Raise AssertionError unless some operations do what those for a CPU do."""
    import torch

    lengths = np.array(_COMPARED_LENGTHS, np.int64)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    # The operations look at bounds and lengths only.
    no_ids = torch.empty(0, dtype=torch.int64)
    rows = Rows(no_ids, no_ids, torch.from_numpy(bounds.astype(np.int32)).to(device), lengths)
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Any:
        return torch.randn(shape, generator=generator).to(device, getattr(torch, precision))

    # As they come from one matrix product.
    query, key, value = some(int(bounds[-1]), 3, heads, size).unbind(1)
    first = some(len(lengths), heads, size)
    for asked, first_only in ((query, False), (first, True)):
        arguments = (asked, key, value, rows)
        _compare(found.attend, attend_by_length, *arguments, first_only=first_only)
    channels = math.prod(first.shape[1:])
    _compare(found.add_norm, add_norm, *some(2, 9, channels), *some(2, channels), 1e-12)
    weight = some(4 * channels, channels) / math.sqrt(channels)
    _compare(found.linear_gelu, linear_gelu, some(9, channels), weight, some(4 * channels))


def _compare(one: Callable[..., Any], other: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    import torch

    found, expected = one(*arguments, **options), other(*arguments, **options)
    torch.testing.assert_close(found, expected, atol=_COMPARED_ATOL, rtol=_COMPARED_ATOL)


def add_norm(added: Any, hidden: Any, weight: Any, bias: Any, eps: float) -> Any:
    """(T, H): the sum of two, each token's normalized."""
    from torch.nn import functional as f

    return f.layer_norm(added + hidden, hidden.shape[-1:], weight, bias, eps)


def linear_gelu(hidden: Any, weight: Any, bias: Any) -> Any:
    """(T, W): a linear layer of (T, H), and the GELU of it."""
    from torch.nn import functional as f

    return f.gelu(f.linear(hidden, weight, bias))


def attend_by_length(query: Any, key: Any, value: Any, rows: Rows, *, first_only: bool) -> Any:
    """Attention within each row; rows of the same length together.

    Args:
        query: (T, heads, D); or (B, heads, D), one a row, if `first_only`. More of them may follow.
        key, value: (T, heads, D); as query.
    Returns:
        As query; zero for those that no row has.
    """
    import torch
    from torch.nn.functional import pad, scaled_dot_product_attention

    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    row = token = 0
    for count, length in _runs(rows.lengths):
        end = token + count * length
        asked = slice(row, row + count) if first_only else slice(token, end)
        q, k, v = (
            part.view(count, -1, *part.shape[1:]) for part in (query[asked], key[token:end], value[token:end])
        )
        bias, width = None, round_up(length, _KEYS_STEP)
        if key.device.type == "cpu" and key.element_size() == 2 and length < width < 2 * length:
            k, v = (pad(part, (0, 0, 0, 0, 0, width - length)) for part in (k, v))
            bias = _hide_from(length, width, query.dtype)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        found = scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out[asked].view(count, -1, *query.shape[1:]).copy_(found.transpose(1, 2))
        row, token = row + count, end
    out[row if first_only else token :].zero_()
    return out


@lru_cache(maxsize=1024)
def _hide_from(length: int, width: int, dtype: Any) -> Any:
    """(1, 1, 1, W): what hides all keys but the first of so many."""
    import torch

    return torch.zeros((1, 1, 1, width), dtype=dtype).index_fill_(3, torch.arange(length, width), -torch.inf)


def _runs(lengths: IntArray) -> list[tuple[int, int]]:
    """How many rows of one length follow each other, and that length."""
    starts = np.flatnonzero(np.diff(lengths, prepend=-1))
    counts = np.diff(starts, append=len(lengths))
    return list(zip(counts.tolist(), lengths[starts].tolist(), strict=True))


def _attend_flash(query: Any, key: Any, value: Any, rows: Rows, *, first_only: bool) -> Any:
    """See attend_by_length; on a GPU from Ampere on, in 16 bits, with PyTorch 2.10 or later."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = rows.bounds, int(rows.lengths[0])
    if not first_only:
        return varlen_attn(query, key, value, bounds, bounds, longest, longest)
    each = torch.arange(len(rows.lengths) + 1, device=bounds.device, dtype=bounds.dtype)
    return varlen_attn(query, key, value, each, bounds, 1, longest)


BY_LENGTH = Operations(attend_by_length, add_norm, linear_gelu, step=32)
"""Each new shape costs oneDNN some milliseconds, a tenth of a short job in all; and it multiplies in tiles of
rows, so it is no slower for those that are filled up."""
