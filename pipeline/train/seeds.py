"""Seeds of named random streams, derived from a single seed."""

from __future__ import annotations

import xxhash


def derive_seed(seed: int, *names: str | int) -> int:
    """63-bit seed of a random stream; different names give independent streams.

    Args:
        names: purpose of the stream, such as "dropout", step, rank.
    """
    return xxhash.xxh3_64_intdigest(repr((seed, *names)).encode()) >> 1
