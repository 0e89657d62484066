"""Text cleaning, and the hash that identifies equal texts."""

from __future__ import annotations

import html
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.arrays import ByteArray, IntArray
from pipeline.ingest.tokenize.buffers import binary_array, rows_containing, text_bytes

_LINE_BREAK = r"(?i)<br\s*/?>"
_MARKUP = r"&#?\w+;|(?i:<br\s*/?>)"


def clean(texts: pa.Array, *, unescape_html: bool = False) -> pa.Array:
    """(N,) strings without leading and trailing white space; null stays null.

    Args:
        unescape_html: replace HTML entities (`&amp;`, `&#39;`) by their characters, and `<br />` by a space.
    """
    return pc.utf8_trim_whitespace(_unescape(texts) if unescape_html else texts)


def _unescape(texts: pa.Array) -> pa.Array:
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    data, starts = text_bytes(texts)
    raw = np.frombuffer(data, np.uint8)
    # Few texts contain these bytes; searching for them takes a fifth of the time of a regular expression.
    rows = rows_containing(np.flatnonzero((raw == ord("&")) | (raw == ord("<"))), starts)
    candidates = texts.take(pa.array(rows))
    has_markup = pc.match_substring_regex(candidates, _MARKUP)
    if not pc.any(has_markup).as_py():
        return texts
    unescaped = pc.replace_substring_regex(candidates.filter(has_markup), _LINE_BREAK, " ").to_pylist()
    unescaped = [_unescape_entities(t) for t in unescaped]
    changed = np.zeros(len(texts), np.bool_)
    changed[rows[has_markup.to_numpy(zero_copy_only=False)]] = True
    return pc.replace_with_mask(texts, pa.array(changed), pa.array(unescaped, texts.type))


def _unescape_entities(text: str) -> str:
    try:
        unescaped = html.unescape(text)
    except ValueError:
        # Python refuses to convert numbers of more than 4,300 digits.
        return text
    # An entity may denote a lone surrogate, which UTF-8 cannot encode.
    return unescaped.encode(errors="replace").decode()


def text_hash(texts: pa.Array) -> IntArray:
    """128-bit xxh3 of the `normal_form` of each text: case, white space and Unicode spelling do not matter.

    Lowercasing maps each character separately (Unicode simple mapping), which is not case folding: STRASSE
    and straße differ, as do ΟΔΟΣ and οδος.

    Equal hashes are treated as equal texts: the probability of a collision among a billion texts is 10⁻²¹.

    Args:
        texts: (N,) strings, no nulls.
    Returns:
        (N, 2) int64: the upper and the lower half of each hash.
    """
    # Trim first: Arrow 26 splits trailing white space differently from call to call.
    trimmed = pc.utf8_trim_whitespace(texts)
    data, starts = text_bytes(trimmed)
    raw = np.frombuffer(data.to_pybytes().translate(_folded_bytes()), np.uint8)
    hashes = _hash(binary_array(*_collapse_spaces(raw, starts)))
    non_ascii = rows_containing(np.flatnonzero(raw > 127), starts)
    if len(non_ascii):
        hashes[non_ascii] = _hash(normal_form(trimmed.take(pa.array(non_ascii))).cast(pa.binary()))
    return hashes


def normal_form(texts: pa.Array) -> pa.Array:
    """(N,) strings that are equal if and only if `text_hash` treats the texts as equal.

    NFKC, each character in lower case, one space for any white space between words, none around them.
    """
    normal = pc.utf8_trim_whitespace(pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC")))
    return pc.binary_join(pc.utf8_split_whitespace(normal), " ")


@lru_cache(maxsize=1)
def _folded_bytes() -> bytes:
    """Translation table from ASCII bytes to their normal form: spaces for white space, lower-case letters."""
    table = bytearray(range(256))
    for byte in range(128):
        trimmed = pc.utf8_trim_whitespace(pa.scalar(chr(byte))).as_py()
        table[byte] = ord(trimmed.lower() or " ")
    return bytes(table)


def _collapse_spaces(raw: ByteArray, starts: IntArray) -> tuple[ByteArray, IntArray]:
    """Bytes and row starts after runs of spaces are replaced by single spaces; no text starts with a space.

    Args:
        raw, starts: as returned by `buffers.text_bytes`.
    """
    is_space = raw == ord(" ")
    repeated = np.flatnonzero(is_space[1:] & is_space[:-1]) + 1
    if not len(repeated):
        return raw, starts
    return np.delete(raw, repeated), starts - np.searchsorted(repeated, starts)


def _hash(texts: pa.BinaryArray) -> IntArray:
    """(N, 2) int64: halves of the 128-bit xxh3 of each of N values."""
    halves = b"".join(map(xxhash.xxh3_128_digest, texts.to_pylist()))
    return np.frombuffer(halves, ">i8").astype(np.int64).reshape(-1, 2)


def key_hash(keys: pa.Array, missing: IntArray) -> IntArray:
    """(N,) int64: 64-bit xxh3 of each key, such as a user ID.

    Args:
        keys: (N,) strings; null if missing.
        missing: (N,) int64, used instead of the hash of a null.
    """
    digest = xxhash.xxh3_64_intdigest
    hashes = np.fromiter(
        (digest(k or b"") for k in keys.cast(pa.binary()).to_pylist()), np.uint64, len(keys)
    ).view(np.int64)
    is_null = keys.is_null().to_numpy(zero_copy_only=False)
    return np.where(is_null, missing, hashes)
