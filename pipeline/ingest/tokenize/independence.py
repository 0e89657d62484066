"""Analysis of a tokenizer: whether it encodes the pieces of a text independently.

Decided by the components in tokenizer.json, never by a model name. Unknown components count as dependent.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline.arrays import BoolArray
from pipeline.ingest.tokenize.pieces import WHITESPACE

Normalize = Callable[[str], str]

_PER_CHARACTER = {"BertNormalizer", "Lowercase", "StripAccents", "NFD", "NFKD"}
"""Normalizers that map each character separately, apart from the order of the accents of one letter."""

_COMPOSING = {"NFC", "NFKC"}
"""Normalizers that may join adjacent characters, such as = and a combining stroke, but never white space."""

_SPLITTERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
"""Pre-tokenizers that split at white space, drop it, and do not look beyond it."""

_MODELS = {"WordPiece", "WordLevel", "BPE"}
"""Models that encode words independently; BPE only without dropout."""


@dataclass(frozen=True)
class PieceRules:
    """Rules for splitting texts into pieces, and the special tokens around their IDs."""

    isolated: str
    """ASCII characters that are always a piece of their own; others extend to the next white space."""
    prefix: tuple[int, ...]
    """IDs that the tokenizer inserts before those of a text."""
    suffix: tuple[int, ...]
    """IDs that it appends."""
    alnum_is_one_word: bool
    """Whether a piece of ASCII letters and digits is one word for the tokenizer, unless it may touch an added
    token."""
    normalized_chars: dict[int, str]
    """Normalized form of each ASCII letter and digit, for `str.translate`."""
    may_touch_added_token: Callable[[list[str]], BoolArray]
    """From W pieces to (W,) whether each may be part of an added token that spans several pieces."""


def piece_rules(tokenizer_json: str, normalize: Normalize) -> PieceRules | None:
    """Rules under which the IDs of separately encoded pieces are those of the whole text.

    Args:
        tokenizer_json: tokenizer in the format of the `tokenizers` library.
        normalize: its normalizer.
    Returns:
        The rules; None if the pieces are not known to be independent.
    """
    parts = json.loads(tokenizer_json)
    normalizers = {n["type"] for n in _sequence(parts["normalizer"], "normalizers")}
    splitters = {p["type"] for p in _sequence(parts["pre_tokenizer"], "pretokenizers")}
    affixes = _affixes(parts["post_processor"])
    independent = (
        normalizers <= _PER_CHARACTER | _COMPOSING
        and bool(splitters)
        and splitters <= _SPLITTERS
        and parts["model"]["type"] in _MODELS
        and not parts["model"].get("dropout")
    )
    if not independent or affixes is None:
        return None
    # For BERT's pre-tokenizer each ASCII punctuation character is a word; splitting there gives more cache
    # hits.
    finest = string.punctuation if "BertPreTokenizer" in splitters and not normalizers & _COMPOSING else ""
    for isolated in (finest, ""):
        added = _AddedTokens(parts["added_tokens"], isolated, normalize)
        if added.are_detectable:
            chars = {ord(c): normalize(c) for c in string.ascii_letters + string.digits}
            return PieceRules(isolated, *affixes, not added.within_pieces, chars, added.may_touch)
    return None


def _sequence(part: dict[str, Any] | None, members: str) -> list[dict[str, Any]]:
    """Flat list of the components of a normalizer or pre-tokenizer."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [inner for member in part[members] for inner in _sequence(member, members)]


def _affixes(processor: dict[str, Any] | None) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """IDs that a post-processor adds before and after a text; None if it does anything else."""
    kind = None if processor is None else processor["type"]
    if processor is None:
        return (), ()
    if kind in ("BertProcessing", "RobertaProcessing"):
        return (processor["cls"][1],), (processor["sep"][1],)
    if kind != "TemplateProcessing":
        return None
    before: list[int] = []
    after: list[int] | None = None
    for item in processor["single"]:
        if "SpecialToken" in item:
            ids = processor["special_tokens"][item["SpecialToken"]["id"]]["ids"]
            (before if after is None else after).extend(ids)
        elif after is not None:
            return None
        else:
            after = []
    return None if after is None else (tuple(before), tuple(after))


class _AddedTokens:
    """Detector of pieces that may be part of an added token that spans several pieces.

    The tokenizer searches for added tokens in the original text, or in the normalized text if `normalized` is
    set.
    """

    def __init__(self, tokens: list[dict[str, Any]], isolated: str, normalize: Normalize) -> None:
        edges = re.escape(WHITESPACE + isolated)
        patterns = [normalize(t["content"]) if t["normalized"] else t["content"] for t in tokens]
        spans_pieces = [
            bool(t["lstrip"] or t["rstrip"] or t["single_word"] or re.search(f"[{edges}]", pattern))
            for t, pattern in zip(tokens, patterns, strict=True)
        ]
        normalized = any(s and t["normalized"] for s, t in zip(spans_pieces, tokens, strict=True))
        # The tokenizer normalizes the text next to an added token separately, so its normalized form cannot
        # be derived from the whole piece. If normalized forms matter, any piece with an added token is
        # uncertain.
        cores = [_core(pattern, edges) for pattern in patterns]
        self._cores = [c for c, s in zip(cores, spans_pieces, strict=True) if c and (s or normalized)]
        self._forms: list[Normalize] = [str, normalize] if normalized else [str]
        self.are_detectable = None not in cores
        """Whether each added token has a part that is always within one piece."""
        self.within_pieces = not all(spans_pieces)
        """Whether some added tokens are within a piece, where the tokenizer finds them."""

    def may_touch(self, pieces: list[str]) -> BoolArray:
        """(W,) whether each of W pieces may be part of an added token."""
        mask = np.zeros(len(pieces), np.bool_)
        for form in self._forms:
            joined = form("\n".join(pieces))
            for core in self._cores:
                if core.text in joined:
                    mask |= [core.text in (f := form(p)) and bool(core.regex.search(f)) for p in pieces]
        return mask


class _Core(NamedTuple):
    """Longest part of an added token that is within one piece."""

    text: str
    regex: re.Pattern[str]
    """Matches the text, with a piece boundary on each side where the added token continues."""


def _core(pattern: str, edges: str) -> _Core | None:
    inner, other = re.compile(f"[^{edges}]+"), f"[^{edges}]"
    longest = max(inner.finditer(pattern), key=lambda match: len(match[0]), default=None)
    if longest is None:
        return None
    before = f"(?<!{other})" if longest.start() else ""
    after = f"(?!{other})" if longest.end() < len(pattern) else ""
    return _Core(longest[0], re.compile(before + re.escape(longest[0]) + after))
