"""Splitting of a text column into pieces to encode separately, without a Python loop over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import ByteArray, IntArray
from pipeline.ingest.tokenize.buffers import text_bytes

WHITESPACE = " \t\n\r"
"""White space that ends a piece. Every tokenizer ends a word at these four of ASCII's six white space
characters. BERT's removes form feed and vertical tab as control characters, which joins the characters around
them."""

_IN_WORD, _ISOLATED, _WHITESPACE = 0, 1, 2


def byte_kinds(isolated: str) -> bytes:
    """Kind of each of the 256 byte values, for `split`.

    Args:
        isolated: ASCII characters that are always a piece of their own.
    """
    kinds = bytearray([_IN_WORD]) * 256
    for kind, characters in ((_WHITESPACE, WHITESPACE), (_ISOLATED, isolated)):
        for character in characters:
            kinds[ord(character)] = kind
    return bytes(kinds)


@dataclass(frozen=True)
class Pieces:
    """N texts as P pieces, W of them distinct.

    An empty piece, the separator, precedes each row and follows the last one.
    """

    words: pa.StringArray
    """(W,) distinct pieces, without white space. The first is the separator. Others may be empty or equal,
    because they differ in their white space."""
    word_of_piece: pa.Int32Array
    """(P,) index of each piece in `words`."""
    bounds: IntArray
    """(N + 1,) positions of the separators among the pieces."""


def split(texts: pa.StringArray, kinds: bytes) -> Pieces:
    """Pieces of a column of texts.

    Args:
        texts: (N,) strings, no nulls.
        kinds: from `byte_kinds`.
    """
    data, text_starts = text_bytes(texts)
    starts = _piece_starts(np.frombuffer(data.to_pybytes().translate(kinds), np.uint8), text_starts)
    before = np.searchsorted(starts, text_starts)
    # A piece extends to the next one, white space included, so Arrow can use the bytes without a copy.
    offsets = np.append(np.insert(starts, before, text_starts), data.size).astype(np.int32)
    pieces = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), data).dictionary_encode()
    words = pc.ascii_rtrim(pieces.dictionary, WHITESPACE)
    return Pieces(words, pieces.indices, before + np.arange(len(before)))


def _piece_starts(kinds: ByteArray, text_starts: IntArray) -> IntArray:
    """Offsets at which pieces start: non-empty rows, after white space, before and after isolated characters.

    Args:
        kinds: (B,) kind of each byte.
        text_starts: (N + 1,) offset of each row, and the end of the last.
    """
    is_start = kinds != _WHITESPACE
    is_start[1:] &= (kinds[1:] | kinds[:-1]) != _IN_WORD
    is_start[text_starts[:-1][np.diff(text_starts) > 0]] = True
    return np.flatnonzero(is_start)
