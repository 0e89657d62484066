"""Settings for a file in no known format: the columns that most likely hold the text and the stars."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any, NamedTuple

from pipeline.config import InputConfig
from pipeline.ingest.detect.records import Sample, join_names, shown_name
from pipeline.ingest.detect.stars import rating_columns, usual_ratings
from pipeline.ingest.detect.word_order import in_order
from pipeline.ingest.parse.columns import as_text, as_word
from pipeline.ingest.parse.stars import read_flag, read_rating
from pipeline.overrides import quoted_setting, written_value

_MIN_WORDS = 2
_HEADER_WORDS = 6
_MAX_CLASSES = 10
_SPACELESS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Characters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
_NUMBER = re.compile(r"[\d.,+-]+")
_VALUE_NAME = re.compile(rf"{_NUMBER.pattern}(_\d+)?")
"""A name that is a number; one that occurs several times has a suffix."""
_ANSWER = re.compile(r"respon|reply|replies|owner|developer|answer", re.IGNORECASE)
_LABEL_NAMES = ("label", "labels", "class", "sentiment", "polarity", "target")
_FLAG_NAMES = ("voted_up", "recommended", "is_recommended", "recommend", "positive", "is_positive", "liked")
"""Names of columns of true and false, which are proposed after those of `_LABEL_NAMES`."""


class Proposal(NamedTuple):
    """Settings with which a file can be read."""

    settings: dict[str, str]
    """Values by name, as `--set` takes them; empty if no column holds texts."""
    warnings: list[str]
    """Sentences about other columns that could be meant."""


def propose(sample: Sample, config: InputConfig) -> Proposal:
    """Settings with which the file can be read.

    Args:
        sample: the first records of the file.
        config: settings that are kept.
    """
    settings: dict[str, str] = {}
    names = list(sample.dialect.columns) or sample.fields()
    if sample.dialect.syntax == "csv" and not config.columns and _is_record(names, sample.records):
        # The names are the values of the first record.
        rows = [names, *([as_text(r.get(n)) for n in names] for r in sample.records)]
        names = _names_by_values(rows, len(names))
        settings["input.columns"] = written_value(names)
        columns = dict(zip(names, sample.dialect.columns, strict=True))
    else:
        columns = {name: name for name in names}
    texts = {name: _mean_words(sample.records, field) for name, field in columns.items()}
    # The answer of a seller is often longer than the review.
    own = {name: words for name, words in texts.items() if not _ANSWER.search(name)}
    texts = own if max(own.values(), default=0) >= _MIN_WORDS else texts
    text = max(texts, key=lambda name: texts[name], default=None)
    if text is None or texts[text] < _MIN_WORDS:
        return Proposal({}, [])
    settings["input.text"] = written_value(config.text or (text,))
    candidates = [config.stars] if config.stars else _stars(sample.records, columns)
    if candidates:
        settings["input.stars"] = written_value(candidates[:1], is_list=False)
        settings |= _word_labels(sample.values(columns[candidates[0]]))
    others = [] if config.text else [n for n in texts if n != text and 2 * texts[n] >= texts[text] > 0]
    return Proposal(settings, _other_columns(text, others, candidates))


def _other_columns(text: str, others: Sequence[str], stars: Sequence[str]) -> list[str]:
    """Warnings about columns that could be meant instead of the proposed ones, the first of `stars`."""
    warnings = []
    if others:
        joined = quoted_setting("input.text", [text, *others])
        warnings.append(f"{join_names(others)} could hold texts, too; to join the columns, set {joined}")
    if len(stars) > 1:
        warnings.append(
            f"stars = {shown_name(stars[0])} is a guess: {join_names(stars[1:])} could hold the stars, too"
        )
    return warnings


def _word_labels(values: Iterable[object]) -> dict[str, str]:
    """Settings for labels that are words; empty if they are ratings."""
    words = sorted({word for value in values if (word := as_word(value))})
    if any(read_rating(word) or read_flag(word) is not None for word in words):
        return {}
    if not words or len(words) > _MAX_CLASSES:
        return {}
    return {"labels.scheme": "words", "labels.words": written_value(in_order(words))}


def _stars(records: Sequence[dict[str, Any]], columns: dict[str, str]) -> list[str]:
    """Columns that could hold the stars; the most likely one comes first."""
    by_field = {field: name for name, field in columns.items()}
    # Search engines add fields such as _score.
    named = [field for field in rating_columns(records) if not field.rpartition(".")[2].startswith("_")]
    last = {field: field.rpartition(".")[2].lower() for field in by_field}
    named += [field for field in by_field if last[field] in _LABEL_NAMES and field not in named]
    named += [field for field in by_field if last[field] in _FLAG_NAMES and _has_flags(records, field)]
    bare = [f for n, f in columns.items() if n == "stars" and f not in named]
    found = [by_field[field] for field in dict.fromkeys([*bare, *named]) if field in by_field]
    ratings = {by_field[field] for field in usual_ratings(records) if field in by_field}
    return [name for name in found if name == found[0] or name in ratings]


def _has_flags(records: Sequence[dict[str, Any]], field: str) -> bool:
    """Whether the values of a field are true and false, or 1 and 0."""
    words = {word.lower() for record in records if (word := as_word(record.get(field)))}
    return bool(words) and (words <= {"true", "false"} or words <= {"0", "1"})


def _mean_words(records: Sequence[dict[str, Any]], field: str) -> float:
    # Objects and lists are no texts, although their spelling has words.
    found = (record.get(field) for record in records)
    values = ["" if isinstance(v, dict | list) else as_word(v) or "" for v in found]
    return mean([_num_words(v) for v in values] or [0])


def _num_words(text: str) -> float:
    """Number of words; two characters of a script without spaces count as one."""
    rest, num_chars = _SPACELESS.subn(" ", text)
    return len(re.findall(r"[^\W\d_]+", rest)) + num_chars / 2


def _is_record(names: Sequence[str], records: Sequence[dict[str, Any]]) -> bool:
    """Whether the first line of a CSV file is a record: a name is a number, or a sentence.

    It is a header if its names are consecutive numbers, or a column of numbers has a name that is none.
    """
    if [*names] in ([str(i + first) for i in range(len(names))] for first in (0, 1)):
        return False
    for name in names:
        values = [as_text(record.get(name)) for record in records]
        if values and all(map(_NUMBER.fullmatch, values)) and not _VALUE_NAME.fullmatch(name):
            return False
    return any(_VALUE_NAME.fullmatch(n) or len(n.split()) > _HEADER_WORDS for n in names)


def _names_by_values(rows: Sequence[Sequence[str]], count: int) -> list[str]:
    """Names for the columns of records without a header: stars, text, and column_N."""
    columns = list(zip(*rows, strict=True))
    longest = max(range(count), key=lambda i: sum(map(len, columns[i])))
    names = [f"column_{i + 1}" for i in range(count)]
    names[longest] = "text"
    ratings = (i for i, values in enumerate(columns) if i != longest and _are_ratings(values))
    first = next(ratings, None)
    if first is not None:
        names[first] = "stars"
    return names


def _are_ratings(values: Sequence[str]) -> bool:
    """Whether values of a column can be ratings: few different numbers, which occur again and again."""
    numbers = {v for v in values if re.fullmatch(r"-?\d{1,2}([.,]\d+)?", v)}
    num_numbers = sum(v in numbers for v in values)
    return 2 * num_numbers > len(values) and (len(numbers) <= _MAX_CLASSES + 1 or len(values) == 1)
