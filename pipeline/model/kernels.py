"""GPU kernels for the operations of BERT other than matrix products, over packed rows.

PyTorch's attention is designed for rows of thousands of tokens; reviews have about forty, so most of its work
on them is wasted. PyTorch also writes the sum of two tensors to memory before it normalizes it. Both
operations are implemented here in Triton, which PyTorch's CUDA build includes; without Triton, this module
cannot be imported. PyTorch also writes the output of a linear layer to memory before the GELU; cuBLAS fuses
the two.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.arrays import IntArray
    from pipeline.model.tensors import Rows

_TILES = {16: 1, 32: 2, 64: 4, 128: 8}
"""Tile size in tokens → number of warps. Matrix units need at least 16 tokens, and registers hold at most
128. A longer row has several tiles."""

_NORM_WARPS = 4


def attend(
    query: Tensor, key: Tensor, value: Tensor, rows: Rows, *, first_only: bool, bias: Tensor | None = None
) -> Tensor:
    """See attention.attend_by_length; D must be a power of 2, at least 16, and there is no bias.

    Source: Dao 2023, arXiv:2307.08691 (softmax without storing the scores).
    """
    assert bias is None
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    heads, size = query.shape[1:]
    scale = math.log2(math.e) / math.sqrt(size)
    for tile, first, count, max_length in _by_tile(rows.lengths):
        tiles = -(-max_length // tile)
        asked = min(_TILES) if first_only else tile
        grid = (count, heads, 1 if first_only else tiles)
        _attend[grid](
            query, key, value, out, rows.bounds, first, query.stride(0), key.stride(0), out.stride(0), scale,
            SIZE=size, TILE=tile, TILES=tiles, ASKED=asked, FIRST_ONLY=first_only, num_warps=_TILES[tile],
        )  # fmt: skip
    return out


def _by_tile(lengths: IntArray) -> list[tuple[int, int, int, int]]:
    """Rows grouped by tile size: the tile size, the first row, the number of rows and their maximum length.

    Args:
        lengths: (B,), descending.
    """
    tiles = np.array(sorted(_TILES, reverse=True))
    # A row gets the smallest tile that holds it, else the largest.
    ends = np.searchsorted(-lengths, -np.append(tiles[1:], 0), side="left")
    starts = np.append(0, ends[:-1])
    return [
        (int(tile), int(start), int(end - start), int(lengths[start]))
        for tile, start, end in zip(tiles, starts, ends, strict=True)
        if end > start
    ]


def add_norm(added: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """See attention.add_norm."""
    out = torch.empty_like(hidden)
    size = hidden.shape[1]
    _add_norm[(len(hidden),)](
        added, hidden, weight, bias, out, eps, size,
        BLOCK=triton.next_power_of_2(size), num_warps=_NORM_WARPS,
    )  # fmt: skip
    return out


def linear_gelu(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """See attention.linear_gelu.

    cuBLAS uses the tanh approximation, which is within 0.0005 of GELU. On an H100, its 16-bit result is as
    close to the float32 result as that of the exact function.
    """
    return torch._addmm_activation(bias, hidden, weight.t(), use_gelu=True)


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query, key, value, out, bounds, first_row, query_step, key_step, out_step, scale,
    SIZE: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr, ASKED: tl.constexpr,
    FIRST_ONLY: tl.constexpr,
):  # fmt: skip
    """One program per row, head and tile of queries; `scale` is for powers of 2."""
    row = first_row + tl.program_id(0)
    begin = tl.load(bounds + row).to(tl.int64)
    length = (tl.load(bounds + row + 1) - begin).to(tl.int32)
    channel = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    asked = tl.program_id(2) * ASKED + tl.arange(0, ASKED)
    if FIRST_ONLY:
        is_asked = asked < 1
        asked_at = row.to(tl.int64) + asked
    else:
        is_asked = asked < length
        asked_at = begin + asked
    if tl.program_id(2) * ASKED < length:
        q = tl.load(query + asked_at[:, None] * query_step + channel, mask=is_asked[:, None], other=0.0)
        top = tl.full([ASKED], float("-inf"), tl.float32)
        total = tl.zeros([ASKED], tl.float32)
        found = tl.zeros([ASKED, SIZE], tl.float32)
        for tile in range(TILES):
            other = tile * TILE + tl.arange(0, TILE)
            is_other = other < length
            at = (begin + other)[:, None] * key_step + channel
            k = tl.load(key + at, mask=is_other[:, None], other=0.0)
            v = tl.load(value + at, mask=is_other[:, None], other=0.0)
            scores = tl.where(is_other[None, :], tl.dot(q, tl.trans(k)) * scale, float("-inf"))
            new_top = tl.maximum(top, tl.max(scores, 1))
            kept = tl.exp2(top - new_top)
            weights = tl.exp2(scores - new_top[:, None])
            total = total * kept + tl.sum(weights, 1)
            found = found * kept[:, None] + tl.dot(weights.to(v.dtype), v)
            top = new_top
        found = found / total[:, None]
        at = asked_at[:, None] * out_step + channel
        tl.store(out + at, found.to(out.dtype.element_ty), mask=is_asked[:, None])


@triton.jit  # type: ignore[untyped-decorator]
def _add_norm(added, hidden, weight, bias, out, eps, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program per token."""
    at = tl.program_id(0).to(tl.int64) * size
    channel = tl.arange(0, BLOCK)
    inside = channel < size
    total = tl.load(added + at + channel, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(hidden + at + channel, mask=inside, other=0.0).to(tl.float32)
    centred = tl.where(inside, total - tl.sum(total, 0) / size, 0.0)
    centred *= 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / size + eps)
    w = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at + channel, (centred * w + b).to(out.dtype.element_ty), mask=inside)
