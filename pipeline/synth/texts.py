"""Synthetic review texts, composed of clauses, one block of rows at a time.

The vocabulary is open: an open slot draws a rank from a heavy-tailed distribution (Zipf-Mandelbrot), and each
rank is a word. As in real reviews, new words keep appearing with any number of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.arrays import BoolArray, Float64Array, IntArray, ObjectArray
from pipeline.synth import clauses
from pipeline.synth.tables import PRECOMPUTED_RANKS, SHORT_WORDS, Tables, tables
from pipeline.synth.vocabulary import mistype, open_word

_FACT = clauses.VOICES.index("fact")
_CLAUSE_VOICES = np.array(
    [  # Rows: text that expresses 1 to 5 stars. Columns: probability of each voice; the last is facts.
        [0.50, 0.13, 0.03, 0.01, 0.01, 0.32],
        [0.10, 0.44, 0.11, 0.03, 0.01, 0.31],
        [0.02, 0.10, 0.46, 0.09, 0.02, 0.31],
        [0.005, 0.01, 0.085, 0.48, 0.10, 0.32],
        [0.003, 0.005, 0.01, 0.10, 0.552, 0.33],
    ]
)
_SHORT_VOICES = np.array(
    [  # The same for texts of one to three words.
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
"""Fraction of the words outside slots that are replaced by a word of the open vocabulary."""
_PLURAL_FRAC = (0.95, 0.3)
"""Fraction of rows with a plural product: for topics whose products come in pairs, and for the others."""
_COMMA_FRAC = 0.015
_OTHER_MARKS, _OTHER_MARKS_FRAC = ("?", ";", ":", "...", "!"), 0.0015
"""Punctuation after words within a clause, and its probability."""


class _Draft(NamedTuple):
    """T tokens of the texts of a block, in order."""

    ids: IntArray
    """(T,) word IDs, or -1 - slot; 0 for no word."""
    row: IntArray
    """(T,) row of each token."""
    leads: BoolArray
    """(T,) whether the token is the first word of a clause."""
    starts_sentence: BoolArray
    """(T,) whether the token is the first word of a sentence."""
    suffix: ObjectArray
    """(T,) str: punctuation after the word."""


def heavy_ranks(uniform: Float64Array, scale: float, exponent: float) -> IntArray:
    """(N,) ranks from (N,) uniform draws, with P(rank > k) = (scale / (scale + k)) ** exponent."""
    ranks = scale * ((1.0 - uniform) ** (-1.0 / exponent) - 1.0)
    return np.minimum(ranks, _MAX_RANK).astype(np.int64)


def draw_texts(rng: np.random.Generator, moods: IntArray, topics: IntArray, lengths: IntArray) -> list[str]:
    """N texts.

    Args:
        rng: source of all draws; their order depends only on the other arguments.
        moods: (N,) in [0, 5): the star rating that the text expresses, minus one.
        topics: (N,) in [0, number of `TOPICS`).
        lengths: (N,) requested number of words, at least 1; met to about half a clause.
    """
    parts = tables()
    draft = _lay_out(rng, parts, *_draw_clauses(rng, parts, moods, lengths))
    by_pair = np.isin(topics, clauses.PLURAL_TOPICS)
    plural = rng.random(len(moods)) < np.where(by_pair, *_PLURAL_FRAC)
    _make_plural(parts, draft, plural[draft.row])
    _swap_words(rng, parts, draft.ids, lengths[draft.row] > SHORT_WORDS)
    _fill_slots(rng, parts, draft.ids, topics[draft.row])
    pieces = _spell(rng, parts, draft)
    with_suffix = np.flatnonzero(draft.suffix != "")
    pieces[with_suffix] = pieces[with_suffix] + draft.suffix[with_suffix]
    is_word = draft.ids != 0
    return _join(rng, pieces[is_word].tolist(), np.bincount(draft.row[is_word], minlength=len(moods)))


def _draw_clauses(
    rng: np.random.Generator, parts: Tables, moods: IntArray, lengths: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Row, clause index and voice of every clause, in order."""
    short = lengths <= SHORT_WORDS
    # Clauses of long texts have at least two words, so this number suffices; the surplus is dropped below.
    row = np.repeat(np.arange(len(moods)), np.where(short, 1, lengths // 3 + 1))
    short = short[row]
    chances = np.where(short[:, None], _SHORT_VOICES[moods[row]], _CLAUSE_VOICES[moods[row]])
    voice = (rng.random((len(row), 1)) > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)
    # Clauses of two or three words are common in short texts, and rare in long ones.
    chance = rng.random(len(row)) / np.where(lengths[row] < 7, 0.9, 0.15)
    kind = np.where(chance < 0.4, 1, np.where(chance < 1.0, 2, 3))
    kind = np.where(short, lengths[row] - 1, kind)
    # The power makes the first clauses of a group more frequent.
    index = (rng.random(len(row)) ** 1.3 * parts.group_size[voice, kind]).astype(np.int64)
    clause = parts.group_start[voice, kind] + index
    count = parts.clause_words[clause]
    before = count.cumsum() - count
    before -= before[np.searchsorted(row, row)]
    kept = (before == 0) | (before + count / 2 <= lengths[row] + 0.5)
    return row[kept], clause[kept], voice[kept]


def _lay_out(
    rng: np.random.Generator, parts: Tables, row: IntArray, clause: IntArray, voice: IntArray
) -> _Draft:
    """Tokens of all clauses, each preceded by a connector or by ID 0."""
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
    next_is_joined = np.append(joined[1:], False)
    ending[next_is_joined] = np.where(rng.random(next_is_joined.sum()) < 0.4, ",", "")
    text_ends = np.append(~continues[1:], True)
    ending[text_ends & (rng.random(len(row)) < 0.27)] = ""
    chance = rng.random(len(ids))
    suffix = np.where(chance < _COMMA_FRAC, ",", "").astype(object)
    marked = np.flatnonzero(chance > 1.0 - _OTHER_MARKS_FRAC)
    suffix[marked] = np.array(_OTHER_MARKS, dtype=object)[rng.integers(0, len(_OTHER_MARKS), len(marked))]
    suffix[first] = ""
    suffix[first + count - 1] = ending
    leads = np.zeros(len(ids), dtype=bool)
    leads[first + 1] = True
    starts_sentence = leads & np.repeat(~joined, count)
    return _Draft(ids, np.repeat(row, count), leads, starts_sentence, suffix)


def _make_plural(parts: Tables, draft: _Draft, plural: BoolArray) -> None:
    """Change tokens to the plural where the (T,) mask is set: they are, these shoes, I like them."""
    ids = draft.ids
    it = plural & (ids == parts.it)
    ids[it] = np.where(draft.leads[it], parts.they, parts.them)
    ids[plural & (ids == -1 - parts.slot["item"])] = -1 - parts.slot["items"]
    words = plural & (ids > 0)
    ids[words] = parts.plural_id[ids[words]]


def _swap_words(rng: np.random.Generator, parts: Tables, ids: IntArray, long: BoolArray) -> None:
    """In long texts, replace some words by similar ones, or by any word of the open vocabulary."""
    known = np.maximum(ids, 0)
    chance = rng.random(len(ids))
    frac = parts.swap_frac[known]
    opened = (chance > 1.0 - _ANY_OPEN_FRAC) & (ids > 0) & long
    at = np.flatnonzero((chance < frac) & long)
    # The power makes the first replacements of a list more frequent.
    position = (chance[at] / frac[at]) ** 1.5
    ids[at] = parts.swap_id[known[at]] + (position * parts.swap_count[known[at]]).astype(np.int64)
    ids[opened] = -1 - parts.slot["thing"]


def _fill_slots(rng: np.random.Generator, parts: Tables, ids: IntArray, topics: IntArray) -> None:
    """Replace slots by words."""
    positions = np.flatnonzero(ids < 0)
    slots = -1 - ids[positions]
    uniform = rng.random(len(positions))
    for slot, cumulative in enumerate(parts.cumulative):
        is_slot = slots == slot
        at = positions[is_slot]
        word = np.searchsorted(cumulative, uniform[is_slot], side="right")
        ids[at] = parts.first_id[slot] + word + topics[at] * parts.per_topic[slot]
    opened = positions[rng.random(len(positions)) < parts.open_frac[slots]]
    ranks = heavy_ranks(rng.random(len(opened)), _OPEN_SCALE, _OPEN_EXPONENT)
    ids[opened] = len(parts.words) - PRECOMPUTED_RANKS + ranks


# Quoted, bracketed and joined words.
_MARKED_FORMS = ('"{}"', "({})", "({})", "({}", "{})", "*{}*", "{}/{}", "{}-{}", "{}.{}")
_MARKED_FRAC = 0.009


def _spell(rng: np.random.Generator, parts: Tables, draft: _Draft) -> ObjectArray:
    """Words as typed, with capitals, emphasis and typos."""
    ids, starts_sentence = draft.ids, draft.starts_sentence
    known = np.minimum(ids, len(parts.words) - 1)
    pieces = parts.words[known]
    pieces[starts_sentence] = parts.capitals[known[starts_sentence]]
    first_open = len(parts.words) - PRECOMPUTED_RANKS
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


# Probability and function of each typing style; a text of one sentence has no gap to widen.
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
