"""Records without a label that can be used, which a job would reject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pipeline.config import LabelsConfig
from pipeline.humanize import counted, printable
from pipeline.ingest.parse.columns import as_word
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.stars import RatingRule, read_flag, read_rating
from pipeline.overrides import quoted_setting

_MIN_RECORDS = 10
"""Number of records from which a share of them is meaningful."""
_MAX_WORDS = 5
"""Number of different values that may all mean "not rated"."""
_MAX_SHOWN_CHARS = 40


def labels_of_texts(fmt: Format, records: Iterable[Mapping[str, object]]) -> list[object]:
    """Values of the stars field in the records that have a text; the others are rejected anyway."""
    values = [r.get(fmt.stars) for r in records if any(as_word(r.get(name)) for name in fmt.text)]
    # Objects and lists are read as missing.
    return [None if isinstance(value, dict | list | tuple) else value for value in values]


def unrated_words(values: Iterable[object], labels: LabelsConfig, max_rejected_frac: float) -> list[str]:
    """Values that mean "not rated", sorted, if more records have one than may be rejected.

    These are the values that are no ratings, if they are few, and those of the settings.

    Args:
        values: of the stars field in the first records, those without a text left out.
    """
    words = Counter(as_word(value) for value in values)
    found = _no_labels(words, labels)
    is_many = words.total() >= _MIN_RECORDS and found.total() > max_rejected_frac * words.total()
    is_same = labels.scheme != "words" and len(found) <= _MAX_WORDS and all(map(_can_be_set, found))
    return sorted({*found, *(labels.unrated or ())}) if is_many and is_same else []


def _can_be_set(word: str) -> bool:
    return word.isprintable() and len(word) <= _MAX_SHOWN_CHARS


def unrated_warnings(
    column: str, values: Iterable[object], labels: LabelsConfig, max_rejected_frac: float
) -> list[str]:
    """Sentences about more records without a label than may be rejected; args as in `unrated_words`."""
    given = list(values)
    words = Counter(as_word(value) for value in given)
    total = words.total()
    if total < _MIN_RECORDS:
        return []
    warnings, missing, found = [], words[None], _no_labels(words, labels)
    first = counted(total, "record")
    if missing > max_rejected_frac * total:
        warnings.append(
            f"{column}: {missing / total:.0%} of the first {first} have no value, more than may be rejected;"
            " set input.max_rejected_frac to a larger fraction to leave them out"
        )
    if found.total() > max_rejected_frac * total:
        example = printable(found.most_common(1)[0][0], _MAX_SHOWN_CHARS, ellipsis="…")
        kind = "label of labels.words" if labels.scheme == "words" else "rating"
        not_rated = unrated_words(given, labels, max_rejected_frac)
        setting = quoted_setting("labels.unrated", not_rated) if not_rated else ""
        remedy = f'; if that means "not rated", set {setting}' if setting else ""
        warnings.append(
            f"{column}: {found.total() / total:.0%} of the first {first} have no {kind}, for example"
            f" {example!r}, more than may be rejected{remedy}"
        )
    return warnings


def _no_labels(words: Counter[str | None], labels: LabelsConfig) -> Counter[str]:
    """Number of records by value, of the values that are neither a label nor mean "not rated"."""
    rule = RatingRule(labels.rating_scale(), labels.unrated or ())
    return Counter({w: n for w, n in words.items() if w is not None and not _is_label(w, labels, rule)})


def _is_label(word: str, labels: LabelsConfig, rule: RatingRule) -> bool:
    if labels.scheme == "words":
        return labels.words is None or word in labels.words
    is_flag = (rule.scale.low, rule.scale.high) == (0, 1) and read_flag(word) is not None
    return rule.is_unrated(word) or read_rating(word) is not None or is_flag
