"""A column of texts cut into pieces that a tokenizer reads one by one, without a Python loop over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import IntArray
from pipeline.ingest.tokenize.buffers import text_bytes

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
    """N texts as P pieces, of W kinds. Where a row begins, and after the last, stands a piece of no text."""

    words: pa.StringArray
    """(W,) the pieces of each kind, without white space. The first is that of no text; others may be empty
    or equal each other, for they differ in white space."""
    word_of_piece: pa.Int32Array
    """(P,) in [0, W): the kind of each piece."""
    bounds: IntArray
    """(N + 1,) the pieces of no text."""


def split(texts: pa.StringArray, kinds: bytes) -> Pieces:
    """Cut texts into pieces.

    Args:
        texts: (N,) strings, none null.
        kinds: see `byte_kinds`.
    """
    data, text_starts = text_bytes(texts)
    starts = _piece_starts(np.frombuffer(data.to_pybytes().translate(kinds), np.uint8), text_starts)
    before = np.searchsorted(starts, text_starts)
    # A piece reaches up to the next, white space included: so Arrow reads the pieces where they stand.
    offsets = np.append(np.insert(starts, before, text_starts), data.size).astype(np.int32)
    tiles = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), data).dictionary_encode()
    return Pieces(pc.ascii_rtrim(tiles.dictionary, WHITE), tiles.indices, before + np.arange(len(before)))


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
