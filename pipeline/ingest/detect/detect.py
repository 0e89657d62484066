"""Tell which dump a file is from the fields of its first records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError, MissingColumnError
from pipeline.ingest.detect.sample import in_one_line, take_sample
from pipeline.ingest.parse.columns import as_word, star_array
from pipeline.ingest.parse.formats import CARRIED_FIELDS, FORMATS, Format, find_format
from pipeline.ingest.read.compression import head_of
from pipeline.storage.location import Location


def detect_format(
    file: Location, config: InputConfig, *, need_stars: bool = True, labels: LabelsConfig | None = None
) -> Format | None:
    """Tell a file's format from the fields of its first records.

    Args:
        need_stars: whether records without stars (or a label) are of no use.
        labels: checked against the values of the label column, if its classes are words.
    Returns:
        The format, with the columns that the settings name; None where a file has no text at all.
    Raises:
        InputError: no known format, or a configured column that no record has; the fields seen are named.
    """
    sample = take_sample(file, config)
    if sample is None:
        return None
    fields = sample.fields()
    base = find_format(fields, need_stars=need_stars)
    if base is None and (config.text is None or (need_stars and config.stars is None)):
        options = "--set input.text=…" + (" --set input.stars=…" if need_stars else "")
        if sample.dialect.syntax == "csv":
            options += ", and with input.columns=… if its first line is no header"
        raise InputError(
            f"{file.uri}: no known review format; its fields are {in_one_line(fields)}; name the columns with"
            f" {options}"
        )
    chosen = _with_columns(base or _unknown(fields), config)
    _check_columns(file, chosen, config, fields)
    if need_stars:
        _check_labels(file, chosen, labels or LabelsConfig(), sample.records)
    return replace(chosen, dialect=sample.dialect)


def _unknown(fields: Collection[str]) -> Format:
    """A format of which nothing is known but that fields called as in a known one mean the same."""
    base = FORMATS[0]
    known = {n: _first(fields, {getattr(f, n) for f in FORMATS}) for n in CARRIED_FIELDS}
    return replace(base, name="by columns", mark=None, **known)  # type: ignore[arg-type]


def _first(fields: Collection[str], wanted: Collection[str | None]) -> str | None:
    return next((f for f in sorted(fields) if f in wanted), None)


def _with_columns(base: Format, config: InputConfig) -> Format:
    named = {n: getattr(config, n) for n in ("text", "stars", *CARRIED_FIELDS)}
    return replace(base, **{name: value for name, value in named.items() if value is not None})


def _check_columns(file: Location, chosen: Format, config: InputConfig, fields: Collection[str]) -> None:
    """Raise InputError for a configured column that no record has, or one that is used twice."""
    named = {n: getattr(config, n) for n in ("stars", *CARRIED_FIELDS)}
    for setting, names in {"text": config.text or (), **{n: (v,) for n, v in named.items() if v}}.items():
        for name in names:
            if name not in fields:
                raise MissingColumnError(
                    f"{file.uri}: input.{setting}={name}, but no line has this field; its fields are"
                    f" {in_one_line(fields)}"
                )
    name, times = Counter(chosen.fields()).most_common(1)[0]
    if times > 1:
        used = ", ".join(
            f"input.{n}={v}" for n in ("stars", *CARRIED_FIELDS) if (v := getattr(chosen, n)) is not None
        )
        raise InputError(
            f"{file.uri}: field {name} is used twice: input.text={','.join(chosen.text)}, {used}"
        )


def _check_labels(
    file: Location, chosen: Format, labels: LabelsConfig, records: list[dict[str, Any]]
) -> None:
    """Raise InputError if none of the first records has stars, or one of the words; absent ones aside."""
    words = sorted({word for record in records if (word := as_word(record.get(chosen.stars)))})
    if labels.scheme != "words":
        stars = star_array(words).to_numpy(zero_copy_only=False)
        if words and np.isnan(stars).all():
            raise InputError(
                f"{file.uri}: {chosen.stars} holds no stars but words, as {in_one_line(words[:3])}; make them"
                " classes with --set labels.scheme=words,labels.words=…"
            )
        return
    if labels.words is None or not set(words).intersection(labels.words):
        shown = in_one_line([",".join(words[:8]) + (",…" if len(words) > 8 else "")])
        given = f"labels.words={','.join(labels.words)}" if labels.words else "labels.scheme=words"
        raise InputError(
            f"{file.uri}: {given}, but the labels that its first lines have in {chosen.stars} are"
            f" {shown or 'none at all'}; name the classes in order with --set labels.words=…"
        )


def why_empty(file: Location) -> str:
    """Why a file has no text."""
    head, broken = head_of(file, 1)
    return broken or ("nothing but blank lines" if head else "empty file")
