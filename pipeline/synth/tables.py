"""Words, slots and clauses of the synthetic texts as arrays, built once per process."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from pipeline.arrays import Float64Array, IntArray, ObjectArray
from pipeline.synth import clauses, swaps
from pipeline.synth.vocabulary import open_word, plural

SHORT_WORDS = 3
"""Texts of up to this number of words are one clause of that length."""

PRECOMPUTED_RANKS = 1 << 15
"""Number of precomputed words of the open vocabulary; rarer words are computed when drawn."""

# Probability that a slot is filled from the open vocabulary; 0 for numbers and connectors.
_OPEN_FRAC = dict.fromkeys(("but", "link", "num", "tall", "lbs", "price"), 0.0)
_OPEN_FRAC |= dict.fromkeys(("does", "great", "when", "broke"), 0.08)
_OPEN_FRAC |= {"thing": 1.0, "item": 0.1, "items": 0.1, "very": 0.02}
_OPEN_FRAC_ELSE = 0.18
_CONTRACTIONS = {
    "i am": "i'm",
    "it is": "it's",
    "do not": "don't",
    "did not": "didn't",
    "does not": "doesn't",
    "was not": "wasn't",
    "will not": "won't",
    "would not": "wouldn't",
    "i have": "i've",
    "could not": "couldn't",
}


@dataclass(frozen=True)
class Tables:
    """V words, S slots, and K clauses. A token of a clause is a word ID, or -1 - slot."""

    words: ObjectArray
    """(V,) str: word 0 is "", the last PRECOMPUTED_RANKS words are the open vocabulary."""
    capitals: ObjectArray
    """(V,) str: capitalized words."""
    first_id: IntArray
    """(S,) ID of the first word of each slot; IDs of a slot's words are contiguous."""
    cumulative: list[Float64Array]
    """Cumulative probabilities of the words of each of S slots."""
    per_topic: IntArray
    """(S,) number of words per topic; 0 for slots that do not depend on the topic."""
    open_frac: Float64Array
    """(S,) probability that the slot is filled from the open vocabulary."""
    tokens: IntArray
    """Concatenated tokens of all clauses."""
    clause_start: IntArray
    """(K,) start of each clause in `tokens`."""
    clause_words: IntArray
    """(K,) number of tokens of each clause."""
    group_start: IntArray
    """(voices, 4) first clause with 1, 2, 3, and more words."""
    group_size: IntArray
    """(voices, 4) number of clauses of each group."""
    endings: ObjectArray
    """(voices, 100) str: endings, repeated according to their frequency."""
    slot: dict[str, int]
    """Index of each slot by name."""
    plural_id: IntArray
    """(V,) ID of the plural form of each word; the word itself if it does not change."""
    swap_frac: Float64Array
    """(V,) probability that a word is replaced."""
    swap_id: IntArray
    """(V,) ID of the first replacement of each word."""
    swap_count: IntArray
    """(V,) number of replacements of each word."""
    it: int
    they: int
    them: int


@cache
def tables() -> Tables:
    """The tables, built by the first call."""
    slots = _slots()
    slot = {name: at for at, name in enumerate(slots)}
    vocabulary: dict[str, int] = {"": 0}
    compiled, groups = _compile_clauses(slot, vocabulary)
    for word in ("it", "they", "them", *swaps.PLURALS, *swaps.PLURALS.values(), *swaps.SWAPS):
        vocabulary.setdefault(word, len(vocabulary))
    listing = list(vocabulary)
    first_id = _append(listing, slots)
    replacements = {word: text.split() for word, (_, text) in swaps.SWAPS.items()}
    swap_start = _append(listing, replacements)
    listing += [open_word(rank) for rank in range(PRECOMPUTED_RANKS)]
    per_topic = [len(slots[n]) // len(clauses.TOPICS) if n in ("item", "items", "part") else 0 for n in slots]
    plural_id = np.arange(len(listing))
    for singular, plural_form in swaps.PLURALS.items():
        plural_id[vocabulary[singular]] = vocabulary[plural_form]
    swap_frac, swap_id, swap_count = _swap_arrays(vocabulary, swap_start, len(listing))
    lengths = [len(c) for c in compiled]
    voices = clauses.VOICES
    return Tables(
        words=np.array(listing, dtype=object),
        capitals=np.array([w[:1].upper() + w[1:] for w in listing], dtype=object),
        first_id=np.array(first_id),
        cumulative=[_zipf(each or len(s)) for each, s in zip(per_topic, slots.values(), strict=True)],
        per_topic=np.array(per_topic),
        open_frac=np.array([_OPEN_FRAC.get(name, _OPEN_FRAC_ELSE) for name in slots]),
        tokens=np.concatenate([np.array(c) for c in compiled]),
        clause_start=np.cumsum([0, *lengths[:-1]]),
        clause_words=np.array(lengths),
        group_start=np.cumsum([0, *groups[:-1]]).reshape(len(voices), -1),
        group_size=np.array(groups).reshape(len(voices), -1),
        endings=np.array([list(Counter(clauses.ENDINGS[v]).elements()) for v in voices], dtype=object),
        slot=slot,
        plural_id=plural_id,
        swap_frac=swap_frac,
        swap_id=swap_id,
        swap_count=swap_count,
        it=vocabulary["it"],
        they=vocabulary["they"],
        them=vocabulary["them"],
    )


def _swap_arrays(
    vocabulary: dict[str, int], starts: list[int], size: int
) -> tuple[Float64Array, IntArray, IntArray]:
    """swap_frac, swap_id and swap_count of `size` words; replacements of swap i begin at `starts[i]`."""
    frac, first, count = np.zeros(size), np.zeros(size, np.int64), np.zeros(size, np.int64)
    for (word, (probability, text)), start in zip(swaps.SWAPS.items(), starts, strict=True):
        at = vocabulary[word]
        frac[at], first[at], count[at] = probability, start, len(text.split())
    return frac, first, count


def _slots() -> dict[str, list[str]]:
    slots = {name: text.split() for name, text in clauses.SLOTS.items()}
    slots["but"] = ["but"]
    slots["thing"] = ["thing"]
    slots["item"] = [w for items in clauses.TOPICS for w in _padded(items)]
    slots["items"] = [swaps.PLURAL_ITEMS.get(w) or plural(w) for w in slots["item"]]
    slots["part"] = [w for parts in clauses.TOPICS.values() for w in _padded(parts)]
    return slots


def _append(listing: list[str], lists: dict[str, list[str]]) -> list[int]:
    """Append the words of all lists to the listing; returns the start of each list."""
    starts = []
    for entries in lists.values():
        starts.append(len(listing))
        listing += [entry.replace("_", " ") for entry in entries]
    return starts


def _compile_clauses(slot: dict[str, int], vocabulary: dict[str, int]) -> tuple[list[list[int]], list[int]]:
    """Tokens of all clauses, and the sizes of the groups by voice and length; adds words to `vocabulary`."""
    compiled: list[list[int]] = []
    groups: list[int] = []
    for voice in clauses.VOICES:
        texts = re.split(r"[|\n]", clauses.CLAUSES[voice])
        texts = [_contracted(text) if at % 2 else text for at, text in enumerate(texts)]
        listed = [[_token(piece, slot, vocabulary) for piece in text.split()] for text in texts]
        for size in range(1, SHORT_WORDS + 2):
            group = [clause for clause in listed if min(len(clause), SHORT_WORDS + 1) == size]
            groups.append(len(group))
            compiled += group
    return compiled, groups


def _contracted(clause: str) -> str:
    for two, one in _CONTRACTIONS.items():
        clause = re.sub(rf"\b{two}\b", one, clause)
    return clause


def _token(piece: str, slot: dict[str, int], vocabulary: dict[str, int]) -> int:
    if match := re.fullmatch(r"\{(\w+)\}", piece):
        return -1 - slot[match[1]]
    written = piece.capitalize() if piece == "i" or piece.startswith("i'") else piece
    return vocabulary.setdefault(written, len(vocabulary))


def _padded(text: str, size: int = 10) -> list[str]:
    """Words repeated to a fixed number, so that all topics have the same number of words."""
    return (text.split() * size)[:size]


def _zipf(count: int) -> Float64Array:
    weights = 1.0 / (np.arange(count) + 2.5)
    cumulative: Float64Array = weights.cumsum() / weights.sum()
    cumulative[-1] = 1.0
    return cumulative
