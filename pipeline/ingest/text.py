"""Clean text, and the hash that says whether two texts are the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash


def clean(texts: pa.Array) -> pa.Array:
    """(N,) strings without white space at their ends; null stays null."""
    return pc.utf8_trim_whitespace(texts)


def text_hash(texts: pa.Array) -> npt.NDArray[np.int64]:
    """64-bit xxh3 of each text, blind to case and to the kind and amount of white space.

    Args:
        texts: (N,) strings, none null.
    Returns:
        (N,) int64.
    """
    # Trimmed first: Arrow 26 splits white space at the end of a text differently from call to call.
    normal = pc.binary_join(pc.utf8_split_whitespace(pc.utf8_lower(clean(texts))), " ")
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter(
        (digest(t) for t in normal.cast(pa.binary()).to_pylist()), np.uint64, len(normal)
    ).view(np.int64)
