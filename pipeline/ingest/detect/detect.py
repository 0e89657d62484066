"""Detection of a dump's format and columns from its first records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError, MissingColumnError
from pipeline.ingest.detect.checks import value_warnings
from pipeline.ingest.detect.columns import NAMED, Columns, choose_format
from pipeline.ingest.detect.records import Sample, join_names
from pipeline.ingest.detect.sample import read_sample
from pipeline.ingest.parse.columns import as_word, star_array
from pipeline.ingest.parse.formats import Format
from pipeline.storage.location import Location


@dataclass(frozen=True)
class Detection:
    """Format of a file, the columns that are used, and what may be wrong about them."""

    fmt: Format
    columns: Columns
    notes: tuple[str, ...]
    """Facts about the syntax, one clause each."""
    warnings: tuple[str, ...]
    """Guesses that may be wrong and suspicious values, one sentence each, without the name of the file."""


def detect_file(
    file: Location,
    config: InputConfig,
    *,
    need_stars: bool = True,
    labels: LabelsConfig | None = None,
    model: InputConfig | None = None,
) -> Detection | None:
    """Format and columns of a file, from its first records.

    Args:
        need_stars: whether records need stars or a label.
        labels: checked against the values of the label column, if its classes are words.
        model: the settings, completed by the columns with which a model was trained; used if the file has
            the text columns.
    Returns:
        The format, with the columns that the settings name, then those of the model, then those of the known
        format; None if the file has no text.
    Raises:
        InputError: the format is unknown, or no record has a configured column; the message lists the fields.
    """
    if model is not None:
        found = _detect_for_model(file, config, model)
        if found is not None:
            return found
    sample = read_sample(file, config)
    if sample is None:
        return None
    fmt, warnings = choose_format(file.uri, sample, config, need_stars=need_stars)
    if need_stars:
        _check_labels(file, fmt, labels or LabelsConfig(), sample.records)
    named = any(getattr(config, n) is not None for n in NAMED)
    return _detection(sample, fmt, warnings, "the settings" if named else fmt.name, config)


def detect_format(
    file: Location, config: InputConfig, *, need_stars: bool = True, labels: LabelsConfig | None = None
) -> Format | None:
    """Format that `detect_file` finds."""
    found = detect_file(file, config, need_stars=need_stars, labels=labels)
    return None if found is None else found.fmt


def _detection(
    sample: Sample, fmt: Format, warnings: list[str], chosen_by: str, config: InputConfig
) -> Detection:
    columns = Columns.of(fmt, sample.fields(), chosen_by)
    values = value_warnings(columns, sample.records, config.text_separator)
    return Detection(fmt, columns, sample.notes, (*sample.warnings, *warnings, *values))


def _detect_for_model(file: Location, config: InputConfig, model: InputConfig) -> Detection | None:
    """Detection with the columns of a model; None if the file lacks its text columns."""
    sample = read_sample(file, config)
    if sample is None:
        return None
    if model.columns and not config.columns and not set(model.text or ()).issubset(sample.fields()):
        sample = _headerless(file, model) or sample
    fields = sample.fields()
    # A dump to score may lack the stars and the IDs of the training data.
    absent = {n: None for n in NAMED[1:] if getattr(config, n) is None and getattr(model, n) not in fields}
    try:
        fmt, warnings = choose_format(file.uri, sample, model.model_copy(update=absent), need_stars=False)
    except MissingColumnError:
        return None
    return _detection(sample, fmt, warnings, "the model", model)


def _headerless(file: Location, model: InputConfig) -> Sample | None:
    """Sample of a CSV file whose first line is a record with the columns of a model; None if it is not."""
    try:
        sample = read_sample(file, model)
    except InputError:
        return None
    if sample is None or sample.dialect.syntax != "csv":
        return None
    first = as_word(sample.records[0].get(model.stars)) if model.stars else None
    # In a header, the field of the stars is a name.
    is_rating = first is not None and not np.isnan(star_array([first])[0].as_py() or np.nan)
    return sample if is_rating else None


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
