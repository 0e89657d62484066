"""Seeds of named random streams, all derived from one seed."""

from __future__ import annotations

import xxhash


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one random stream; other names give an independent one.

    Args:
        names: what the stream is used for, such as "dropout", step, rank.
    """
    return xxhash.xxh3_64_intdigest(repr((seed, *names)).encode()) >> 1
