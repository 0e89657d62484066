"""A column of texts cut into pieces that a tokenizer reads one by one, without a Python loop over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

IntArray = npt.NDArray[np.int64]

WHITE = " \t\n\r"
"""White space that ends a piece. Of ASCII's six kinds these four end a word for every tokenizer: BERT's
takes form feed and vertical tab for control characters, and joins what stands around them."""

_IN_WORD, _ALONE, _WHITE = 0, 1, 2


def byte_kinds(alone: str) -> bytes:
    """The kind of each of the 256 bytes, for `split`.

    Args:
        alone: ASCII characters that are a piece each, whatever stands around them.
    """
    kinds = bytearray([_IN_WORD]) * 256
    for kind, characters in ((_WHITE, WHITE), (_ALONE, alone)):
        for character in characters:
            kinds[ord(character)] = kind
    return bytes(kinds)


@dataclass(frozen=True)
class Pieces:
    """N texts as P pieces, of which W differ."""

    words: pa.StringArray
    """(W,) the different pieces, without white space; one of them may be empty."""
    word_of_piece: IntArray
    """(P,) in [0, W): which word each piece is."""
    row_starts: IntArray
    """(N + 1,) where the pieces of each row begin, and the end of the last."""


def split(texts: pa.StringArray, kinds: bytes) -> Pieces:
    """Cut texts into pieces.

    Args:
        texts: (N,) strings, none null.
        kinds: see `byte_kinds`.
    """
    bounds = _offsets(texts)
    first, last = int(bounds[0]), int(bounds[-1])
    text_starts = bounds.astype(np.int64) - first
    data = (texts.buffers()[2] or pa.py_buffer(b"")).slice(first, last - first)
    starts = _piece_starts(np.frombuffer(data.to_pybytes().translate(kinds), np.uint8), text_starts)
    # A piece reaches up to the next, white space included: so Arrow reads the pieces where they stand.
    offsets = np.append(starts, last - first).astype(np.int32)
    tiles = pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), data).dictionary_encode()
    words = pc.ascii_rtrim(tiles.dictionary, WHITE).dictionary_encode()
    word_of_tile = words.indices.to_numpy().astype(np.int64)
    return Pieces(
        words.dictionary, word_of_tile[tiles.indices.to_numpy()], np.searchsorted(starts, text_starts)
    )


def _offsets(texts: pa.StringArray) -> npt.NDArray[np.int32]:
    """(N + 1,) where each text begins in the data of its array, and the end of the last."""
    if not len(texts):
        # An array without rows need not have offsets.
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4)


def _piece_starts(kinds: npt.NDArray[np.uint8], text_starts: IntArray) -> IntArray:
    """Where pieces begin: at each row that is not empty, after white space, and around what stands alone.

    Args:
        kinds: (B,) kind of each byte.
        text_starts: (N + 1,) where each row begins, and the end of the last.
    """
    is_start = kinds != _WHITE
    is_start[1:] &= (kinds[1:] | kinds[:-1]) != _IN_WORD
    is_start[text_starts[:-1][np.diff(text_starts) > 0]] = True
    return np.flatnonzero(is_start)
