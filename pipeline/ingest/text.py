"""Clean text, and the hash that says whether two texts are the same."""

from __future__ import annotations

import html

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

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
    marked = pc.fill_null(pc.match_substring_regex(texts, _MARKED_UP), False)
    if not pc.any(marked).as_py():
        return texts
    rows = pc.replace_substring_regex(texts.filter(marked), _TAG, " ").to_pylist()
    # An entity can name half of a surrogate pair, which no column can hold.
    plain = [html.unescape(t).encode(errors="replace").decode() for t in rows]
    return pc.replace_with_mask(texts, marked, pa.array(plain, texts.type))


def text_hash(texts: pa.Array) -> npt.NDArray[np.int64]:
    """128-bit xxh3 of each text, blind to case, to white space, and to Unicode's ways to write the same.

    Two of a billion different texts get the same hash with a chance of 10⁻²¹: equal hashes are taken
    for equal texts.

    Args:
        texts: (N,) strings, none null.
    Returns:
        (N, 2) int64: the upper and the lower half.
    """
    # Trimmed first: Arrow 26 splits white space at the end of a text differently from call to call.
    normal = pc.utf8_trim_whitespace(pc.utf8_lower(pc.utf8_normalize(clean(texts), form="NFKC")))
    # Most texts have single blanks already; to look is several times as fast as to split.
    odd = pc.match_substring_regex(normal, r"[^ -~]|  ")
    if pc.any(odd).as_py():
        joined = pc.binary_join(pc.utf8_split_whitespace(normal.filter(odd)), " ")
        normal = pc.replace_with_mask(normal, odd, joined)
    halves = b"".join(map(xxhash.xxh3_128_digest, normal.cast(pa.binary()).to_pylist()))
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
