"""Settings for a file in no known format: the columns that most likely hold the text and the stars."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from pipeline.config import InputConfig
from pipeline.ingest.detect.records import Sample
from pipeline.ingest.detect.stars import rating_columns
from pipeline.ingest.detect.word_order import in_order
from pipeline.ingest.parse.columns import as_text, as_word
from pipeline.ingest.parse.stars import read_flag, read_rating

_MIN_WORDS = 2
_HEADER_WORDS = 6
_MAX_CLASSES = 10
_ANSWER = re.compile(r"respon|reply|replies|owner|developer|answer", re.IGNORECASE)
_LABEL_NAMES = ("label", "labels", "class", "sentiment", "polarity", "target")
_FLAG_NAMES = ("voted_up", "recommended", "is_recommended", "recommend", "positive", "is_positive", "liked")
"""Names of columns of true and false, which are proposed after those of `_LABEL_NAMES`."""


def propose(sample: Sample, config: InputConfig) -> dict[str, str]:
    """Settings with which the file can be read, by name; empty if no column holds texts.

    Args:
        sample: the first records of the file.
        config: settings that are kept.
    """
    settings: dict[str, str] = {}
    names = list(sample.dialect.columns) or sample.fields()
    if sample.dialect.syntax == "csv" and not config.columns and _is_record(names):
        # The names are the values of the first record.
        rows = [names, *([as_text(r.get(n)) for n in names] for r in sample.records)]
        names = _names_by_values(rows, len(names))
        settings["input.columns"] = ",".join(names)
        columns = dict(zip(names, sample.dialect.columns, strict=True))
    else:
        columns = {name: name for name in names}
    texts = {name: _mean_words(sample.records, field) for name, field in columns.items()}
    # The answer of a seller is often longer than the review.
    own = {name: words for name, words in texts.items() if not _ANSWER.search(name)}
    texts = own if max(own.values(), default=0) >= _MIN_WORDS else texts
    text = max(texts, key=lambda name: texts[name], default=None)
    if text is None or texts[text] < _MIN_WORDS:
        return {}
    settings["input.text"] = ",".join(config.text or (text,))
    stars = config.stars or _stars(sample.records, columns)
    if stars is not None:
        settings["input.stars"] = stars
        settings |= _word_labels(sample.values(columns[stars]))
    return settings


def _word_labels(values: Iterable[object]) -> dict[str, str]:
    """Settings for labels that are words; empty if they are ratings."""
    words = sorted({word for value in values if (word := as_word(value))})
    if any(read_rating(word) or read_flag(word) is not None for word in words):
        return {}
    if not words or len(words) > _MAX_CLASSES:
        return {}
    return {"labels.scheme": "words", "labels.words": ",".join(in_order(words))}


def _stars(records: Sequence[dict[str, Any]], columns: dict[str, str]) -> str | None:
    by_field = {field: name for name, field in columns.items()}
    # Search engines add fields such as _score.
    named = [field for field in rating_columns(records) if not field.rpartition(".")[2].startswith("_")]
    named += [field for field in by_field if field.lower() in _LABEL_NAMES and field not in named]
    named += [field for field in by_field if field.lower() in _FLAG_NAMES and _has_flags(records, field)]
    bare = [f for n, f in columns.items() if n == "stars" and f not in named]
    return next((by_field[field] for field in [*bare, *named] if field in by_field), None)


def _has_flags(records: Sequence[dict[str, Any]], field: str) -> bool:
    """Whether the values of a field are true and false, or 1 and 0."""
    words = {word.lower() for record in records if (word := as_word(record.get(field)))}
    return bool(words) and (words <= {"true", "false"} or words <= {"0", "1"})


def _mean_words(records: Sequence[dict[str, Any]], field: str) -> float:
    # Objects and lists are no texts, although their spelling has words.
    found = (record.get(field) for record in records)
    values = ["" if isinstance(v, dict | list) else as_word(v) or "" for v in found]
    return mean([len(re.findall(r"[^\W\d_]+", v)) for v in values] or [0])


def _is_record(names: Sequence[str]) -> bool:
    """Whether the first line of a CSV file is a record: a name is a number, or a sentence."""
    return any(re.fullmatch(r"[\d.,+-]+", n) or len(n.split()) > _HEADER_WORDS for n in names)


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
