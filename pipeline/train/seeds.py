"""One named random stream for each use, all from one seed."""

from __future__ import annotations

import xxhash


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one use of randomness; other names give an unrelated one.

    Args:
        names: what it is for, as "shuffle", epoch.
    """
    return xxhash.xxh3_64_intdigest(repr((seed, *names)).encode()) >> 1
