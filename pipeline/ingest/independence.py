"""Whether a tokenizer reads the pieces of a text independently of each other, told from its parts.

Judged by what tokenizer.json says, never by a name. What is not known to be independent is not.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.ingest.pieces import WHITE

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
    if (
        not normalizers <= _PER_CHARACTER | _COMPOSING
        or not splitters
        or not splitters <= _SPLITTERS
        or parts["model"]["type"] not in _MODELS
        or parts["model"].get("dropout")
        or affixes is None
    ):
        return None
    # BERT's takes each ASCII punctuation mark for a word. Pieces cut there repeat more often.
    finest = string.punctuation if "BertPreTokenizer" in splitters and not normalizers & _COMPOSING else ""
    for alone in (finest, ""):
        touches = _touching(parts["added_tokens"], alone, normalize)
        if touches is not None:
            return PieceRules(alone, *affixes, touches)
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


def _touching(tokens: list[dict[str, Any]], alone: str, normalize: Normalize) -> Judge | None:
    """See PieceRules.may_touch_added_token; None where that cannot be told from a piece.

    Added tokens are looked for in the text as it stands; those that are `normalized`, in the normal form.
    """
    patterns = [normalize(t["content"]) if t["normalized"] else t["content"] for t in tokens]
    edge = f"[{re.escape(WHITE + alone)}]"
    if not all(re.sub(edge, "", pattern) for pattern in patterns):
        return None
    reaching = [_looks_around(t) or bool(re.search(edge, p)) for t, p in zip(tokens, patterns, strict=True)]
    normalized = any(r and t["normalized"] for r, t in zip(reaching, tokens, strict=True))
    # What is left around an added token is normalized by itself, so none may stand beside a normalized one.
    sought = [p for p, r in zip(patterns, reaching, strict=True) if r or normalized]
    core = re.compile("|".join(_core(pattern, edge) for pattern in sought) or r"(?!)")
    forms: list[Normalize] = [str, normalize] if normalized else [str]

    def judge(pieces: list[str]) -> BoolArray:
        found = np.zeros(len(pieces), np.bool_)
        for form in forms:
            if core.search(form("\n".join(pieces))):
                found |= [core.search(form(piece)) is not None for piece in pieces]
        return found

    return judge


def _looks_around(token: dict[str, Any]) -> bool:
    return bool(token["lstrip"] or token["rstrip"] or token["single_word"])


def _core(pattern: str, edge: str) -> str:
    """A regular expression for the longest part of a pattern that lies in one piece, and its surroundings."""
    start, end = max((m.span() for m in re.finditer(f"{edge[0]}^{edge[1:]}+", pattern)), key=_span_length)
    before = f"(?<!{edge[0]}^{edge[1:]})" if start else ""
    after = f"(?!{edge[0]}^{edge[1:]})" if end < len(pattern) else ""
    return before + re.escape(pattern[start:end]) + after


def _span_length(span: tuple[int, int]) -> int:
    return span[1] - span[0]
