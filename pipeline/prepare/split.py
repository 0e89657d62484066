"""Assignment of reviews to splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array, IntArray
from pipeline.config import SplitConfig

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Boundary:
    """The last line of the test set when `split.by` is head."""

    file: int
    line: int


def uniform(hashes: IntArray, seed: int) -> Float64Array:
    """(N,) numbers in [0, 1) that depend only on each hash and the seed.

    So a text keeps its split when data are added, and equal texts are in the same split.

    Args:
        hashes: (N,) int64.
    Source: the finalizer of SplitMix64 (Steele et al. 2014, doi:10.1145/2714064.2660195).
    """
    with np.errstate(over="ignore"):
        z = hashes.view(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def assign(
    hashes: IntArray,
    lines: IntArray,
    file: int,
    config: SplitConfig,
    boundary: Boundary | None,
) -> npt.NDArray[np.int8]:
    """Split of each row, by its hash or, if `split.by` is head, by its position, as an index into SPLITS.

    Args:
        hashes: (N,) int64 hashes of the text, user or product that must not be in two splits.
        lines: (N,) int64 line numbers in the file.
        file: number of the file in the input.
        boundary: end of the test set; only if `split.by` is head.
    Returns:
        (N,) int8.
    """
    u = uniform(hashes, config.seed)
    if boundary is None:
        edges = np.cumsum([config.train_frac, config.val_frac])
        return np.searchsorted(edges, u, side="right").astype(np.int8)
    train_share = config.train_frac / (config.train_frac + config.val_frac)
    in_head = (lines <= boundary.line) if file == boundary.file else np.full(len(lines), file < boundary.file)
    return np.where(in_head, 2, u >= train_share).astype(np.int8)


def assign_by_time(times_ms: IntArray, config: SplitConfig) -> npt.NDArray[np.int8]:
    """Split of each row by its day, as an index into SPLITS.

    Args:
        times_ms: (N,) int64 milliseconds since 1970, UTC.
    Returns:
        (N,) int8.
    """
    edges = [np.datetime64(day, "ms").astype(np.int64) for day in (config.val_from, config.test_from)]
    return np.searchsorted(np.array(edges), times_ms, side="right").astype(np.int8)
