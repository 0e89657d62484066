"""Records without a label that can be used, which a job would reject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.config import LabelsConfig
from pipeline.humanize import counted, printable
from pipeline.ingest.parse.columns import as_word
from pipeline.ingest.parse.stars import RatingRule, read_flag, read_rating

_MIN_RECORDS = 10
"""Number of records from which a share of them is meaningful."""
_MAX_WORDS = 5
"""Number of different values that may all mean "not rated"."""
_MAX_SHOWN_CHARS = 40


def unrated_words(values: Iterable[object], labels: LabelsConfig, max_rejected_frac: float) -> list[str]:
    """Values that are no ratings, sorted, if there are few and more records have one than may be rejected.

    Args:
        values: of the stars field in the first records.
    """
    words = Counter(as_word(value) for value in values)
    found = _no_labels(words, labels)
    is_many = words.total() >= _MIN_RECORDS and found.total() > max_rejected_frac * words.total()
    is_same = labels.scheme != "words" and len(found) <= _MAX_WORDS and not any("," in w for w in found)
    return sorted(found) if is_many and is_same else []


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
        remedy = f'; if that means "not rated", set labels.unrated={",".join(not_rated)}' if not_rated else ""
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
    return rule.is_unrated(word) or read_rating(word) is not None or read_flag(word) is not None
