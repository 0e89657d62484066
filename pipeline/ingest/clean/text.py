"""Clean text, and the hash that says whether two texts are the same."""

from __future__ import annotations

import html
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.arrays import ByteArray, IntArray
from pipeline.ingest.tokenize.buffers import binary_array, rows_at, text_bytes

_TAG = r"(?i)<br\s*/?>"
_MARKED_UP = r"&#?\w+;|(?i:<br\s*/?>)"


def clean(texts: pa.Array, *, unescape_html: bool = False) -> pa.Array:
    """(N,) strings without white space at their ends; null stays null.

    Args:
        unescape_html: write out entities (`&amp;`, `&#39;`), and put a space in place of `<br />`.
    """
    return pc.utf8_trim_whitespace(_unescape(texts) if unescape_html else texts)


def _unescape(texts: pa.Array) -> pa.Array:
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    data, starts = text_bytes(texts)
    raw = np.frombuffer(data, np.uint8)
    # Few texts hold one of these; to look for them is a fifth of the work of a regular expression.
    rows = rows_at(np.flatnonzero((raw == ord("&")) | (raw == ord("<"))), starts)
    found = texts.take(pa.array(rows))
    is_marked_up = pc.match_substring_regex(found, _MARKED_UP)
    if not pc.any(is_marked_up).as_py():
        return texts
    plain = pc.replace_substring_regex(found.filter(is_marked_up), _TAG, " ").to_pylist()
    plain = [_without_entities(t) for t in plain]
    changed = np.zeros(len(texts), np.bool_)
    changed[rows[is_marked_up.to_numpy(zero_copy_only=False)]] = True
    return pc.replace_with_mask(texts, pa.array(changed), pa.array(plain, texts.type))


def _without_entities(text: str) -> str:
    try:
        plain = html.unescape(text)
    except ValueError:
        # Python reads no number of more than 4,300 digits.
        return text
    # An entity can name half of a surrogate pair, which no column can hold.
    return plain.encode(errors="replace").decode()


def text_hash(texts: pa.Array) -> npt.NDArray[np.int64]:
    """128-bit xxh3 of each text in lower case, blind to white space and to Unicode's ways to write the same.

    Each character is lowered by itself (Unicode's simple mapping). That is no case folding: STRASSE and
    straße differ, as do ΟΔΟΣ and οδος.

    Two of a billion different texts get the same hash with a chance of 10⁻²¹: equal hashes are taken
    for equal texts.

    Args:
        texts: (N,) strings, none null.
    Returns:
        (N, 2) int64: the upper and the lower half.
    """
    # Trimmed first: Arrow 26 splits white space at the end of a text differently from call to call.
    trimmed = pc.utf8_trim_whitespace(texts)
    data, starts = text_bytes(trimmed)
    raw = np.frombuffer(data.to_pybytes().translate(_folded_bytes()), np.uint8)
    hashes = _hash(binary_array(*_with_single_blanks(raw, starts)))
    other = rows_at(np.flatnonzero(raw > 127), starts)
    if len(other):
        hashes[other] = _hash(normal_form(trimmed.take(pa.array(other))).cast(pa.binary()))
    return hashes


def normal_form(texts: pa.Array) -> pa.Array:
    """(N,) strings, two of which are the same where `text_hash` takes texts for the same.

    NFKC, each character in lower case, with a blank in place of all white space between words and none
    around them.
    """
    normal = pc.utf8_trim_whitespace(pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC")))
    return pc.binary_join(pc.utf8_split_whitespace(normal), " ")


@lru_cache(maxsize=1)
def _folded_bytes() -> bytes:
    """What `normal_form` makes of each byte of ASCII: white space a blank, letters small."""
    table = bytearray(range(256))
    for byte in range(128):
        trimmed = pc.utf8_trim_whitespace(pa.scalar(chr(byte))).as_py()
        table[byte] = ord(trimmed.lower() or " ")
    return bytes(table)


def _with_single_blanks(raw: ByteArray, starts: IntArray) -> tuple[ByteArray, IntArray]:
    """Texts without blanks that follow one; none begins with a blank.

    Args:
        raw, starts: as `buffers.text_bytes`.
    """
    blank = raw == ord(" ")
    more = np.flatnonzero(blank[1:] & blank[:-1]) + 1
    if not len(more):
        return raw, starts
    return np.delete(raw, more), starts - np.searchsorted(more, starts)


def _hash(texts: pa.BinaryArray) -> npt.NDArray[np.int64]:
    """(N, 2) int64: halves of the 128-bit xxh3 of each of N values."""
    halves = b"".join(map(xxhash.xxh3_128_digest, texts.to_pylist()))
    return np.frombuffer(halves, ">i8").astype(np.int64).reshape(-1, 2)


def key_hash(keys: pa.Array, missing: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """64-bit xxh3 of each key, such as a user's id.

    Args:
        keys: (N,) strings; null where there is none.
        missing: (N,) int64, taken in place of the hash of a null.
    Returns:
        (N,) int64.
    """
    digest = xxhash.xxh3_64_intdigest
    found = np.fromiter(
        (digest(k or b"") for k in keys.cast(pa.binary()).to_pylist()), np.uint64, len(keys)
    ).view(np.int64)
    absent = keys.is_null().to_numpy(zero_copy_only=False)
    return np.where(absent, missing, found)
