"""Whether a tokenizer reads the pieces of a text independently of each other, told from its parts.

Judged by what tokenizer.json says, never by a name. What is not known to be independent is not.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.ingest.tokenize.pieces import WHITE

BoolArray = npt.NDArray[np.bool_]
Normalize = Callable[[str], str]
Judge = Callable[[list[str]], BoolArray]

_PER_CHARACTER = {"BertNormalizer", "Lowercase", "StripAccents", "NFD", "NFKD"}
"""Normalizers that treat each character by itself; they sort accents, but those of one letter only."""

_COMPOSING = {"NFC", "NFKC"}
"""Normalizers that join neighbours, such as = and a stroke through it; white space they never join."""

_SPLITTERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
"""Pre-tokenizers that drop white space, and look at nothing beyond it."""

_MODELS = {"WordPiece", "WordLevel", "BPE"}
"""Models that read word by word; BPE only without dropout."""


@dataclass(frozen=True)
class PieceRules:
    """How to cut texts into pieces, and what to put around their ids."""

    alone: str
    """ASCII characters that are a piece each; others belong together up to the next white space."""
    prefix: tuple[int, ...]
    """Ids that the tokenizer puts before those of a text."""
    suffix: tuple[int, ...]
    """Ids that it puts after them."""
    one_word_each: bool
    """Whether the tokenizer takes each piece of ASCII letters and digits for one word, unless it may touch
    an added token."""
    plain_forms: dict[int, str]
    """What the normalizer makes of each ASCII letter and digit; as for `str.translate`."""
    may_touch_added_token: Judge
    """For (W,) pieces: whether each may be a part of an added token that reaches over several pieces."""


def piece_rules(tokenizer_json: str, normalize: Normalize) -> PieceRules | None:
    """The rules by which the pieces of a text, encoded one by one, give the ids of the whole.

    Args:
        tokenizer_json: the tokenizer, in the format of the `tokenizers` library.
        normalize: what its normalizer makes of a string.
    Returns:
        None where no such rules are known.
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
    # BERT's takes each ASCII punctuation mark for a word. Pieces cut there repeat more often.
    finest = string.punctuation if "BertPreTokenizer" in splitters and not normalizers & _COMPOSING else ""
    for alone in (finest, ""):
        added = _AddedTokens(parts["added_tokens"], alone, normalize)
        if added.can_be_told:
            forms = {ord(c): normalize(c) for c in string.ascii_letters + string.digits}
            return PieceRules(alone, *affixes, not added.within_pieces, forms, added.judge)
    return None


def _sequence(part: dict[str, Any] | None, members: str) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer as a list of those that it consists of."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [inner for member in part[members] for inner in _sequence(member, members)]


def _affixes(processor: dict[str, Any] | None) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The ids put before and after a text; None where more is done to it."""
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
    """Tells the pieces that may be a part of an added token which reaches over several.

    Added tokens are looked for in the text as it stands; those that are `normalized`, in its normal form.
    """

    def __init__(self, tokens: list[dict[str, Any]], alone: str, normalize: Normalize) -> None:
        edges = re.escape(WHITE + alone)
        patterns = [normalize(t["content"]) if t["normalized"] else t["content"] for t in tokens]
        reaching = [
            bool(t["lstrip"] or t["rstrip"] or t["single_word"] or re.search(f"[{edges}]", pattern))
            for t, pattern in zip(tokens, patterns, strict=True)
        ]
        normalized = any(r and t["normalized"] for r, t in zip(reaching, tokens, strict=True))
        # The text beside an added token is normalized by itself: its normal form cannot be told from the
        # whole piece. So where normal forms matter, no added token may stand in a piece.
        cores = [_core(pattern, edges) for pattern in patterns]
        self._cores = [c for c, r in zip(cores, reaching, strict=True) if c and (r or normalized)]
        self._forms: list[Normalize] = [str, normalize] if normalized else [str]
        self.can_be_told = None not in cores
        """Whether each added token has a part that must lie within one piece."""
        self.within_pieces = not all(reaching)
        """Whether some lie within a piece, where the tokenizer finds them."""

    def judge(self, pieces: list[str]) -> BoolArray:
        """(W,) whether each of W pieces may be a part of an added token."""
        found = np.zeros(len(pieces), np.bool_)
        for form in self._forms:
            joined = form("\n".join(pieces))
            for core in self._cores:
                if core.text in joined:
                    found |= [core.text in (f := form(p)) and bool(core.regex.search(f)) for p in pieces]
        return found


class _Core(NamedTuple):
    """The longest part of an added token that lies within one piece."""

    text: str
    regex: re.Pattern[str]
    """The text, and the edges of a piece around it, where it has edges."""


def _core(pattern: str, edges: str) -> _Core | None:
    inner, other = re.compile(f"[^{edges}]+"), f"[^{edges}]"
    found = max(inner.finditer(pattern), key=lambda match: len(match[0]), default=None)
    if found is None:
        return None
    before = f"(?<!{other})" if found.start() else ""
    after = f"(?!{other})" if found.end() < len(pattern) else ""
    return _Core(found[0], re.compile(before + re.escape(found[0]) + after))
