"""Synthetic review texts: clauses of `clauses`, put together a block of rows at a time.

The vocabulary is open. An open slot draws a rank from a law with an endless tail (Zipf-Mandelbrot), and a
rank is a word form, so that new words keep coming with every row, as they do in real reviews.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Float64Array, IntArray
from pipeline.synth import clauses
from pipeline.synth.tables import READY_RANKS, SHORT_WORDS, Tables, tables
from pipeline.synth.vocabulary import mistype, open_word

_FACT = clauses.VOICES.index("fact")
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
_OPEN_SCALE, _OPEN_EXPONENT = 2300.0, 1.2
_MAX_RANK = 1 << 40
_ANY_OPEN_FRAC = 0.042
"""Of the words outside slots: people write of anything."""
_PLURAL_FRAC = (0.95, 0.3)
"""Rows that call the product by its plural: of topics whose products come in pairs, and of the others."""
_COMMA_FRAC = 0.015
_OTHER_MARKS, _OTHER_MARKS_FRAC = ("?", ";", ":", "...", "!"), 0.0015
"""What stands after words within a sentence."""


class _Draft(NamedTuple):
    """T tokens of the texts of a block, in order."""

    ids: IntArray
    """(T,) of words, or -1 - slot; 0 where there is none."""
    row: IntArray
    leads: NDArray[np.bool_]
    """(T,) the first word of a clause."""
    starts_sentence: NDArray[np.bool_]
    suffix: NDArray[Any]
    """(T,) str: what is attached to the word."""


def heavy_ranks(uniform: Float64Array, scale: float, exponent: float) -> IntArray:
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
    parts = tables()
    draft = _lay_out(rng, parts, *_draw_clauses(rng, parts, moods, lengths))
    by_pair = np.isin(topics, clauses.PLURAL_TOPICS)
    plural = rng.random(len(moods)) < np.where(by_pair, *_PLURAL_FRAC)
    _make_plural(parts, draft, plural[draft.row])
    _swap_words(rng, parts, draft.ids, lengths[draft.row] > SHORT_WORDS)
    _fill_slots(rng, parts, draft.ids, topics[draft.row])
    pieces = _spell(rng, parts, draft)
    marked = np.flatnonzero(draft.suffix != "")
    pieces[marked] = pieces[marked] + draft.suffix[marked]
    shown = draft.ids != 0
    return _join(rng, pieces[shown].tolist(), np.bincount(draft.row[shown], minlength=len(moods)))


def _draw_clauses(
    rng: np.random.Generator, parts: Tables, moods: IntArray, lengths: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """The row, the clause and the voice of every clause, in the order of the text."""
    short = lengths <= SHORT_WORDS
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
    place = (rng.random(len(row)) ** 1.3 * parts.group_size[voice, kind]).astype(np.int64)
    clause = parts.group_start[voice, kind] + place
    count = parts.clause_words[clause]
    before = count.cumsum() - count
    before -= before[np.searchsorted(row, row)]
    kept = (before == 0) | (before + count / 2 <= lengths[row] + 0.5)
    return row[kept], clause[kept], voice[kept]


def _lay_out(
    rng: np.random.Generator, parts: Tables, row: IntArray, clause: IntArray, voice: IntArray
) -> _Draft:
    """Tokens of all clauses, each led by a connector or by id 0."""
    continues = np.append(False, row[1:] == row[:-1])
    joined = continues & (rng.random(len(row)) < 0.42)
    count = parts.clause_words[clause] + 1
    first = count.cumsum() - count
    within = np.arange(count.sum()) - np.repeat(first, count)
    ids = parts.tokens[np.repeat(parts.clause_start[clause] - 1, count) + within]
    ids[first] = np.where(joined, -1 - parts.slot["link"], 0)
    turns = np.append(False, (voice[1:] >= 3) != (voice[:-1] >= 3)) & (voice != _FACT)
    ids[first[joined & turns]] = -1 - parts.slot["but"]

    ending = parts.endings[voice, rng.integers(0, parts.endings.shape[1], len(row))]
    goes_on = np.append(joined[1:], False)
    ending[goes_on] = np.where(rng.random(goes_on.sum()) < 0.4, ",", "")
    text_ends = np.append(~continues[1:], True)
    ending[text_ends & (rng.random(len(row)) < 0.27)] = ""
    chance = rng.random(len(ids))
    suffix = np.where(chance < _COMMA_FRAC, ",", "").astype(object)
    others = np.flatnonzero(chance > 1.0 - _OTHER_MARKS_FRAC)
    suffix[others] = np.array(_OTHER_MARKS, dtype=object)[rng.integers(0, len(_OTHER_MARKS), len(others))]
    suffix[first] = ""
    suffix[first + count - 1] = ending
    leads = np.zeros(len(ids), dtype=bool)
    leads[first + 1] = True
    starts_sentence = leads & np.repeat(~joined, count)
    return _Draft(ids, np.repeat(row, count), leads, starts_sentence, suffix)


def _make_plural(parts: Tables, draft: _Draft, plural: NDArray[np.bool_]) -> None:
    """Call the product by its plural where (T,) `plural` says so: they are, these shoes, I like them."""
    ids = draft.ids
    it = plural & (ids == parts.it)
    ids[it] = np.where(draft.leads[it], parts.they, parts.them)
    ids[plural & (ids == -1 - parts.slot["item"])] = -1 - parts.slot["items"]
    words = plural & (ids > 0)
    ids[words] = parts.plural_id[ids[words]]


def _swap_words(rng: np.random.Generator, parts: Tables, ids: IntArray, long: NDArray[np.bool_]) -> None:
    """Put words of like use or, in long texts, any word at all in the place of some of the clauses' own."""
    known = np.maximum(ids, 0)
    chance = rng.random(len(ids))
    frac = parts.swap_frac[known]
    anything = (chance > 1.0 - _ANY_OPEN_FRAC) & (ids > 0) & long
    at = np.flatnonzero((chance < frac) & long)
    place = (chance[at] / frac[at]) ** 1.5  # The first ones of a list are the common ones.
    ids[at] = parts.swap_id[known[at]] + (place * parts.swap_count[known[at]]).astype(np.int64)
    ids[anything] = -1 - parts.slot["thing"]


def _fill_slots(rng: np.random.Generator, parts: Tables, ids: IntArray, topics: IntArray) -> None:
    """Put words in the place of the slots."""
    where = np.flatnonzero(ids < 0)
    slots = -1 - ids[where]
    uniform = rng.random(len(where))
    for slot, cumulative in enumerate(parts.cumulative):
        mine = slots == slot
        at = where[mine]
        drawn = np.searchsorted(cumulative, uniform[mine], side="right")
        ids[at] = parts.first_id[slot] + drawn + topics[at] * parts.per_topic[slot]
    opened = where[rng.random(len(where)) < parts.open_frac[slots]]
    ranks = heavy_ranks(rng.random(len(opened)), _OPEN_SCALE, _OPEN_EXPONENT)
    ids[opened] = len(parts.words) - READY_RANKS + ranks


# Words in marks and run together: new pieces of known words.
_MARKED_FORMS = ('"{}"', "({})", "({})", "({}", "{})", "*{}*", "{}/{}", "{}-{}", "{}.{}")
_MARKED_FRAC = 0.009


def _spell(rng: np.random.Generator, parts: Tables, draft: _Draft) -> NDArray[Any]:
    """The words as they are typed: capitals, emphasis, typos."""
    ids, starts_sentence = draft.ids, draft.starts_sentence
    known = np.minimum(ids, len(parts.words) - 1)
    pieces = parts.words[known]
    pieces[starts_sentence] = parts.capitals[known[starts_sentence]]
    first_open = len(parts.words) - READY_RANKS
    for at in np.flatnonzero(ids >= len(parts.words)).tolist():
        word = open_word(int(ids[at]) - first_open)
        pieces[at] = word.capitalize() if starts_sentence[at] else word
    chance = rng.random(len(ids))
    for at in np.flatnonzero(chance < 0.002).tolist():
        pieces[at] = pieces[at].upper()
    for at in np.flatnonzero(chance > 0.995).tolist():
        pieces[at] = mistype(pieces[at], int(chance[at] * 1e12))
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
    (0.36, _break_lines("  ")),
    (0.09, lambda text: text.lower()),
    (0.10, _break_lines("\n\n")),
    (0.005, lambda text: text.upper()),
    (0.010, lambda text: text.replace("'", "\u2019")),
    (0.010, lambda text: text.replace(" and ", " & ")),
)
_DECORATED_FRAC = 0.025


def _join(rng: np.random.Generator, pieces: list[str], counts: IntArray) -> list[str]:
    ends = counts.cumsum().tolist()
    texts = [" ".join(pieces[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    style = np.searchsorted(np.cumsum([share for share, _ in _STYLES]), rng.random(len(texts)), side="right")
    for at in np.flatnonzero(style < len(_STYLES)).tolist():
        texts[at] = _STYLES[style[at]][1](texts[at])
    decorated = np.flatnonzero(rng.random(len(texts)) < _DECORATED_FRAC)
    choice = rng.integers(0, len(clauses.DECORATIONS), len(decorated))
    for at, which in zip(decorated.tolist(), choice.tolist(), strict=True):
        texts[at] = f"{texts[at]} {clauses.DECORATIONS[which]}"
    return texts
