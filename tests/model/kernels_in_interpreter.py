"""Compares kernels.py, run by Triton's interpreter, with PyTorch's operations.

A separate program, because TRITON_INTERPRET=1 must be set before Triton is imported; see test_packed.py.
"""

from __future__ import annotations

import numpy as np
import torch

from pipeline.model import attention, kernels
from pipeline.model.tensors import Rows

LENGTHS = np.array([300, 129, 128, 127, 65, 64, 40, 33, 32, 17, 16, 15, 3, 1, 1], np.int64)
"""Row lengths near the tile sizes, and longer than one and than two of the largest tiles."""

# The interpreter cannot multiply bfloat16.
TYPES = {torch.float32: 1e-5, torch.float16: 4e-3}


def rows_of(lengths: np.ndarray) -> Rows:
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Rows(None, None, torch.from_numpy(bounds), lengths)


def compare_attention() -> int:
    cases = 0
    for dtype, atol in TYPES.items():
        # The interpreter takes seconds for rows of three tiles.
        for heads, size, lengths in ((3, 16, LENGTHS), (1, 64, LENGTHS[1:])):
            rows = rows_of(lengths)
            parts = torch.randn(int(lengths.sum()), 3, heads, size).to(dtype)
            for first_only in (False, True):
                query = torch.randn(len(lengths), heads, size).to(dtype) if first_only else parts[:, 0]
                found, expected = (
                    attend(query, parts[:, 1], parts[:, 2], rows, first_only=first_only)
                    for attend in (kernels.attend, attention.attend_by_length)
                )
                torch.testing.assert_close(found, expected, atol=atol, rtol=0)
                cases += 1
    return cases


def compare_sums() -> int:
    cases = 0
    for dtype, atol in TYPES.items():
        for size in (48, 768):
            added, hidden = torch.randn(2, 9, size).to(dtype)
            weight, bias = torch.randn(2, size).to(dtype)
            found, expected = (
                f(added, hidden, weight, bias, 1e-12) for f in (kernels.add_norm, attention.add_norm)
            )
            torch.testing.assert_close(found, expected, atol=atol, rtol=4e-3)
            cases += 1
    return cases


def compare_linear() -> int:
    cases = 0
    for dtype, atol in TYPES.items():
        for size in (48, 768):
            hidden, bias = torch.randn(9, size).to(dtype), torch.randn(4 * size).to(dtype)
            weight = (torch.randn(4 * size, size) * size**-0.5).to(dtype)
            found, expected = (f(hidden, weight, bias) for f in (kernels.linear_gelu, attention.linear_gelu))
            torch.testing.assert_close(found, expected, atol=max(atol, 5e-4), rtol=4e-3)
            cases += 1
    return cases


if __name__ == "__main__":
    torch.manual_seed(0)
    print(compare_attention(), "attentions", compare_sums(), "sums", compare_linear(), "linear")  # noqa: T201
