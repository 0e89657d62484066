"""Detection of a dump's format from the fields of its first records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError, MissingColumnError
from pipeline.ingest.detect.records import join_names
from pipeline.ingest.detect.sample import read_sample
from pipeline.ingest.parse.columns import as_word, star_array
from pipeline.ingest.parse.formats import CARRIED_FIELDS, FASTTEXT, FORMATS, Format, match_format
from pipeline.ingest.read.compression import head_of
from pipeline.storage.location import Location


def detect_format(
    file: Location, config: InputConfig, *, need_stars: bool = True, labels: LabelsConfig | None = None
) -> Format | None:
    """Format of a file, from the fields of its first records.

    Args:
        need_stars: whether records need stars or a label.
        labels: checked against the values of the label column, if its classes are words.
    Returns:
        The format, with the columns named in the settings; None if the file has no text.
    Raises:
        InputError: the format is unknown, or no record has a configured column; the message lists the fields.
    """
    sample = read_sample(file, config)
    if sample is None:
        return None
    fields = sample.fields()
    is_fasttext = sample.dialect.syntax == "fasttext"
    base = FASTTEXT if is_fasttext else match_format(fields, need_stars=need_stars)
    if base is None and (config.text is None or (need_stars and config.stars is None)):
        options = "--set input.text=…" + (" --set input.stars=…" if need_stars else "")
        if sample.dialect.syntax == "csv":
            options += ", and input.columns=… if the first line is not a header"
        raise InputError(
            f"{file.uri}: unknown review format; fields: {join_names(fields)}; name the columns with"
            f" {options}"
        )
    chosen = _with_columns(base or _custom_format(fields), config)
    _check_columns(file, chosen, config, fields)
    if need_stars:
        _check_labels(file, chosen, labels or LabelsConfig(), sample.records)
    return replace(chosen, dialect=sample.dialect)


def _custom_format(fields: Collection[str]) -> Format:
    """Format of a file that matches no known one; fields with a known name keep their meaning."""
    base = FORMATS[0]
    known = {n: _first(fields, {getattr(f, n) for f in FORMATS}) for n in CARRIED_FIELDS}
    return replace(base, name="by columns", marker=None, **known)  # type: ignore[arg-type]


def _first(fields: Collection[str], wanted: Collection[str | None]) -> str | None:
    return next((f for f in sorted(fields) if f in wanted), None)


def _with_columns(base: Format, config: InputConfig) -> Format:
    configured = {n: getattr(config, n) for n in ("text", "stars", *CARRIED_FIELDS)}
    return replace(base, **{name: value for name, value in configured.items() if value is not None})


def _check_columns(file: Location, chosen: Format, config: InputConfig, fields: Collection[str]) -> None:
    """Raise InputError for a configured column that no record has, or that is used twice."""
    configured = {n: getattr(config, n) for n in ("stars", *CARRIED_FIELDS)}
    for setting, names in {
        "text": config.text or (),
        **{n: (v,) for n, v in configured.items() if v},
    }.items():
        for name in names:
            if name not in fields:
                raise MissingColumnError(
                    f"{file.uri}: input.{setting}={name}, but no line has this field; fields:"
                    f" {join_names(fields)}"
                )
    name, count = Counter(chosen.fields()).most_common(1)[0]
    if count > 1:
        used = ", ".join(
            f"input.{n}={v}" for n in ("stars", *CARRIED_FIELDS) if (v := getattr(chosen, n)) is not None
        )
        raise InputError(
            f"{file.uri}: field {name} is used twice: input.text={','.join(chosen.text)}, {used}"
        )


def _check_labels(
    file: Location, chosen: Format, labels: LabelsConfig, records: list[dict[str, Any]]
) -> None:
    """Raise InputError if the label column has values, but none is a star rating (or one of labels.words)."""
    words = sorted({word for record in records if (word := as_word(record.get(chosen.stars)))})
    if labels.scheme != "words":
        stars = star_array(words).to_numpy(zero_copy_only=False)
        if words and np.isnan(stars).all():
            raise InputError(
                f"{file.uri}: {chosen.stars} contains words, not star ratings: {join_names(words[:3])};"
                " use them as classes with --set labels.scheme=words,labels.words=…"
            )
        return
    if labels.words is None or not set(words).intersection(labels.words):
        shown = join_names([",".join(words[:8]) + (",…" if len(words) > 8 else "")])
        given = f"labels.words={','.join(labels.words)}" if labels.words else "labels.scheme=words"
        raise InputError(
            f"{file.uri}: {given}, but the labels of the first lines in {chosen.stars} are"
            f" {shown or 'all empty'}; list the classes in order with --set labels.words=…"
        )


def empty_reason(file: Location) -> str:
    """Why a file has no text."""
    head, broken = head_of(file, 1)
    return broken or ("only blank lines" if head else "empty file")
