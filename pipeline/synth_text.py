"""Synthetic review texts: clauses of `synth_words`, put together a block of rows at a time.

The vocabulary is open. An open slot draws a rank from a law with an endless tail (Zipf-Mandelbrot), and a
rank is a word form, so that new words keep coming with every row, as they do in real reviews.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import synth_words as words

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_FACT = words.VOICES.index("fact")
_CLAUSE_VOICES = np.array(
    [  # Of a row that speaks as 1..5 stars: the shares of its clauses' voices, the last one plain facts.
        [0.50, 0.13, 0.03, 0.01, 0.01, 0.32],
        [0.10, 0.44, 0.11, 0.03, 0.01, 0.31],
        [0.02, 0.10, 0.46, 0.09, 0.02, 0.31],
        [0.005, 0.01, 0.085, 0.48, 0.10, 0.32],
        [0.003, 0.005, 0.01, 0.10, 0.552, 0.33],
    ]
)
_SHORT_VOICES = np.array(
    [  # The same where one, two or three words are all there is.
        [0.62, 0.22, 0.08, 0.04, 0.03, 0.01],
        [0.20, 0.50, 0.20, 0.06, 0.03, 0.01],
        [0.04, 0.14, 0.56, 0.20, 0.05, 0.01],
        [0.01, 0.02, 0.12, 0.52, 0.31, 0.02],
        [0.01, 0.01, 0.02, 0.22, 0.72, 0.02],
    ]
)
_SHORT_WORDS = 3
# How often a slot takes a word of the open vocabulary instead; numbers and connectors never do.
_OPEN_FRAC = dict.fromkeys(("but", "link", "num", "tall", "lbs", "price"), 0.0)
_OPEN_FRAC |= {
    "thing": 1.0,
    "item": 0.1,
    "does": 0.08,
    "great": 0.08,
    "when": 0.08,
    "broke": 0.08,
    "very": 0.02,
}
_OPEN_FRAC_ELSE = 0.18
_OPEN_SCALE, _OPEN_EXPONENT = 2200.0, 1.0
_TABLE_RANKS = 1 << 14  # Words of the open vocabulary kept ready; rarer ones are formed when drawn.
_MAX_RANK = 1 << 40


@dataclass(frozen=True)
class _Tables:
    """Words, slots and clauses as arrays. A clause token is a word's id, or -1 - slot."""

    words: NDArray[Any]  # (V,) str: id 0 is "", the last _TABLE_RANKS are the open vocabulary
    capitals: NDArray[Any]  # (V,) str
    first_id: IntArray  # (slots,) of the slot's words
    cumulative: list[FloatArray]  # a slot's chances, summed up
    per_topic: IntArray  # (slots,) words of each topic, 0 where the topic does not matter
    open_frac: FloatArray  # (slots,)
    tokens: IntArray  # all clauses, end to end
    clause_start: IntArray
    clause_words: IntArray
    group_start: IntArray  # (voices, 4): first clause of 1, 2, 3 and more words
    group_size: IntArray
    endings: NDArray[Any]  # (voices, 100) str, each as often as it is likely
    slot: dict[str, int]


def heavy_ranks(uniform: FloatArray, scale: float, exponent: float) -> IntArray:
    """Ranks from 0 with P(rank > k) = (scale / (scale + k)) ** exponent: the distinct ones never run out."""
    ranks = scale * ((1.0 - uniform) ** (-1.0 / exponent) - 1.0)
    return np.minimum(ranks, _MAX_RANK).astype(np.int64)


def draw_texts(rng: np.random.Generator, moods: IntArray, topics: IntArray, lengths: IntArray) -> list[str]:
    """Write one text a row.

    Args:
        rng: every draw comes from it, in an order that depends on the other arguments alone.
        moods: (N,) in [0, 5): the star rating, less one, that the text sounds like.
        topics: (N,) in [0, number of `TOPICS`).
        lengths: (N,) words wanted, at least 1; met to about half a clause.
    """
    tables = _tables()
    row, clause, voice = _draw_clauses(rng, tables, moods, lengths)
    ids, token_row, starts_sentence, suffix = _lay_out(rng, tables, row, clause, voice)
    _fill_slots(rng, tables, ids, topics[token_row])
    pieces = _spell(rng, tables, ids, starts_sentence)
    marked = np.flatnonzero(suffix != "")
    pieces[marked] = pieces[marked] + suffix[marked]
    shown = ids != 0
    return _join(rng, pieces[shown].tolist(), np.bincount(token_row[shown], minlength=len(moods)))


def _draw_clauses(
    rng: np.random.Generator, tables: _Tables, moods: IntArray, lengths: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """The row, the clause and the voice of every clause, in the order of the text."""
    short = lengths <= _SHORT_WORDS
    # No clause of a long text is under two words: this many are enough, and those past the length are cut.
    row = np.repeat(np.arange(len(moods)), np.where(short, 1, lengths // 3 + 1))
    short = short[row]
    chances = np.where(short[:, None], _SHORT_VOICES[moods[row]], _CLAUSE_VOICES[moods[row]])
    voice = (rng.random((len(row), 1)) > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)
    # Clauses of two or three words: many in a text that has little room, some in any.
    chance = rng.random(len(row)) / np.where(lengths[row] < 7, 0.9, 0.15)
    kind = np.where(chance < 0.4, 1, np.where(chance < 1.0, 2, 3))
    kind = np.where(short, lengths[row] - 1, kind)
    # The power makes the first clauses of a list the common ones.
    place = (rng.random(len(row)) ** 1.3 * tables.group_size[voice, kind]).astype(np.int64)
    clause = tables.group_start[voice, kind] + place
    count = tables.clause_words[clause]
    before = count.cumsum() - count
    before -= before[np.searchsorted(row, row)]
    kept = (before == 0) | (before + count / 2 <= lengths[row] + 0.5)
    return row[kept], clause[kept], voice[kept]


def _lay_out(
    rng: np.random.Generator, tables: _Tables, row: IntArray, clause: IntArray, voice: IntArray
) -> tuple[IntArray, IntArray, NDArray[np.bool_], NDArray[Any]]:
    """Tokens of all clauses, each led by a connector or by id 0, and what is attached to a token."""
    continues = np.append(False, row[1:] == row[:-1])
    joined = continues & (rng.random(len(row)) < 0.27)
    count = tables.clause_words[clause] + 1
    first = count.cumsum() - count
    within = np.arange(count.sum()) - np.repeat(first, count)
    ids = tables.tokens[np.repeat(tables.clause_start[clause] - 1, count) + within]
    ids[first] = np.where(joined, -1 - tables.slot["link"], 0)
    turns = np.append(False, (voice[1:] >= 3) != (voice[:-1] >= 3)) & (voice != _FACT)
    ids[first[joined & turns]] = -1 - tables.slot["but"]

    ending = tables.endings[voice, rng.integers(0, tables.endings.shape[1], len(row))]
    goes_on = np.append(joined[1:], False)
    ending[goes_on] = np.where(rng.random(goes_on.sum()) < 0.4, ",", "")
    text_ends = np.append(~continues[1:], True)
    ending[text_ends & (rng.random(len(row)) < 0.27)] = ""
    suffix = np.where(rng.random(len(ids)) < 0.012, ",", "").astype(object)
    suffix[first] = ""
    suffix[first + count - 1] = ending
    starts_sentence = np.zeros(len(ids), dtype=bool)
    starts_sentence[first + 1] = ~joined
    return ids, np.repeat(row, count), starts_sentence, suffix


def _fill_slots(rng: np.random.Generator, tables: _Tables, ids: IntArray, topics: IntArray) -> None:
    """Put words in the place of the slots."""
    where = np.flatnonzero(ids < 0)
    slots = -1 - ids[where]
    uniform = rng.random(len(where))
    for slot, cumulative in enumerate(tables.cumulative):
        mine = slots == slot
        at = where[mine]
        drawn = np.searchsorted(cumulative, uniform[mine], side="right")
        ids[at] = tables.first_id[slot] + drawn + topics[at] * tables.per_topic[slot]
    opened = where[rng.random(len(where)) < tables.open_frac[slots]]
    ranks = heavy_ranks(rng.random(len(opened)), _OPEN_SCALE, _OPEN_EXPONENT)
    ids[opened] = len(tables.words) - _TABLE_RANKS + ranks


# Words in marks and run together: a sixth of the distinct pieces of real text.
_MARKED_FORMS = ('"{}"', "({})", "({})", "*{}*", "{}/{}", "{}-{}", "{}.{}", "{},{}")
_MARKED_FRAC = 0.012


def _spell(
    rng: np.random.Generator, tables: _Tables, ids: IntArray, starts_sentence: NDArray[np.bool_]
) -> NDArray[Any]:
    """The words as they are typed: capitals, emphasis, typos."""
    known = np.minimum(ids, len(tables.words) - 1)
    pieces = tables.words[known]
    pieces[starts_sentence] = tables.capitals[known[starts_sentence]]
    first_open = len(tables.words) - _TABLE_RANKS
    for at in np.flatnonzero(ids >= len(tables.words)).tolist():
        word = words.open_word(int(ids[at]) - first_open)
        pieces[at] = word.capitalize() if starts_sentence[at] else word
    chance = rng.random(len(ids))
    for at in np.flatnonzero(chance < 0.002).tolist():
        pieces[at] = pieces[at].upper()
    for at in np.flatnonzero(chance > 0.995).tolist():
        pieces[at] = words.mistype(pieces[at], chance[at])
    marked = np.flatnonzero((chance > 0.5) & (chance < 0.5 + _MARKED_FRAC) & (ids != 0))
    form = rng.integers(0, len(_MARKED_FORMS), len(marked))
    for at, which, other in zip(
        marked.tolist(), form.tolist(), rng.permutation(marked).tolist(), strict=True
    ):
        pieces[at] = _MARKED_FORMS[which].format(pieces[at], pieces[other])
    return pieces


def _break_lines(mark: str) -> Callable[[str], str]:
    return lambda text: text.replace(". ", f".{mark}").replace("! ", f"!{mark}")


# How a row is typed, and how often: a text of one sentence has no gap to widen.
_STYLES: tuple[tuple[float, Callable[[str], str]], ...] = (
    (0.25, _break_lines("  ")),
    (0.09, lambda text: text.lower()),
    (0.08, _break_lines("\n\n")),
    (0.005, lambda text: text.upper()),
    (0.010, lambda text: text.replace("'", "\u2019")),
    (0.005, _break_lines("<br /><br />")),
    (0.006, lambda text: text.replace(" and ", " &amp; ").replace("'", "&#39;")),
    (0.010, lambda text: text.replace(" and ", " & ")),
)
_DECORATED_FRAC = 0.012


def _join(rng: np.random.Generator, pieces: list[str], counts: IntArray) -> list[str]:
    ends = counts.cumsum().tolist()
    texts = [" ".join(pieces[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    style = np.searchsorted(np.cumsum([share for share, _ in _STYLES]), rng.random(len(texts)), side="right")
    for at in np.flatnonzero(style < len(_STYLES)).tolist():
        texts[at] = _STYLES[style[at]][1](texts[at])
    decorated = np.flatnonzero(rng.random(len(texts)) < _DECORATED_FRAC)
    choice = rng.integers(0, len(words.DECORATIONS), len(decorated))
    for at, which in zip(decorated.tolist(), choice.tolist(), strict=True):
        texts[at] = f"{texts[at]} {words.DECORATIONS[which]}"
    return texts


@cache
def _tables() -> _Tables:
    slots = {name: text.split() for name, text in words.SLOTS.items()}
    slots["but"] = ["but"]
    slots["thing"] = ["thing"]
    slots["item"] = [w for items in words.TOPICS for w in _padded(items)]
    slots["part"] = [w for parts in words.TOPICS.values() for w in _padded(parts)]
    slot = {name: at for at, name in enumerate(slots)}
    vocabulary: dict[str, int] = {"": 0}
    clauses, groups = _compile_clauses(slot, vocabulary)
    listing = list(vocabulary)
    first_id = []
    for entries in slots.values():
        first_id.append(len(listing))
        listing += [entry.replace("_", " ") for entry in entries]
    listing += [words.open_word(rank) for rank in range(_TABLE_RANKS)]
    per_topic = [len(slots[n]) // len(words.TOPICS) if n in ("item", "part") else 0 for n in slots]
    lengths = [len(c) for c in clauses]
    return _Tables(
        words=np.array(listing, dtype=object),
        capitals=np.array([w[:1].upper() + w[1:] for w in listing], dtype=object),
        first_id=np.array(first_id),
        cumulative=[_zipf(each or len(s)) for each, s in zip(per_topic, slots.values(), strict=True)],
        per_topic=np.array(per_topic),
        open_frac=np.array([_OPEN_FRAC.get(name, _OPEN_FRAC_ELSE) for name in slots]),
        tokens=np.concatenate([np.array(c) for c in clauses]),
        clause_start=np.cumsum([0, *lengths[:-1]]),
        clause_words=np.array(lengths),
        group_start=np.cumsum([0, *groups[:-1]]).reshape(len(words.VOICES), -1),
        group_size=np.array(groups).reshape(len(words.VOICES), -1),
        endings=np.array([list(Counter(words.ENDINGS[v]).elements()) for v in words.VOICES], dtype=object),
        slot=slot,
    )


def _compile_clauses(slot: dict[str, int], vocabulary: dict[str, int]) -> tuple[list[list[int]], list[int]]:
    """Clauses as tokens, and the sizes of their groups by voice and length; adds words to `vocabulary`."""
    clauses: list[list[int]] = []
    groups: list[int] = []
    for voice in words.VOICES:
        texts = re.split(r"[|\n]", words.CLAUSES[voice])
        listed = [[_token(piece, slot, vocabulary) for piece in text.split()] for text in texts]
        for size in range(1, _SHORT_WORDS + 2):
            group = [clause for clause in listed if min(len(clause), _SHORT_WORDS + 1) == size]
            groups.append(len(group))
            clauses += group
    return clauses, groups


def _token(piece: str, slot: dict[str, int], vocabulary: dict[str, int]) -> int:
    if match := re.fullmatch(r"\{(\w+)\}", piece):
        return -1 - slot[match[1]]
    return vocabulary.setdefault("I" if piece == "i" else piece, len(vocabulary))


def _padded(text: str, size: int = 10) -> list[str]:
    """Repeated up to one size for all topics, so that a topic is a multiple of it away."""
    return (text.split() * size)[:size]


def _zipf(count: int) -> FloatArray:
    weights = 1.0 / (np.arange(count) + 2.5)
    cumulative: FloatArray = weights.cumsum() / weights.sum()
    cumulative[-1] = 1.0
    return cumulative
