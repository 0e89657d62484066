"""Detection of a dump's format and columns from its first records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError, MissingColumnError
from pipeline.ingest.detect.checks import check_texts, value_warnings
from pipeline.ingest.detect.columns import NAMED, Columns, choose_format
from pipeline.ingest.detect.dates import check_dates, date_warnings, day_order
from pipeline.ingest.detect.records import Sample, join_names
from pipeline.ingest.detect.sample import read_sample
from pipeline.ingest.detect.scale_guess import Observed
from pipeline.ingest.detect.scales import check_scale, scale_warnings
from pipeline.ingest.detect.unrated import labels_of_texts, unrated_warnings
from pipeline.ingest.detect.word_order import in_order
from pipeline.ingest.parse.columns import as_word
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.stars import RatingRule, read_rating
from pipeline.overrides import quoted_setting
from pipeline.scale import Scale
from pipeline.storage.location import Location

_DEFAULT_LABELS = LabelsConfig()
_MAX_CLASSES = 10
"""Number of words that may be classes; more are probably not labels."""


@dataclass(frozen=True)
class Detection:
    """Format of a file, the columns that are used, and what may be wrong about them."""

    fmt: Format
    columns: Columns
    notes: tuple[str, ...]
    """Facts about the syntax, one clause each."""
    warnings: tuple[str, ...]
    """Guesses that may be wrong and suspicious values, one sentence each, without the name of the file."""


@dataclass(frozen=True)
class Needs:
    """What a job needs of each record."""

    stars: bool = True
    """Whether records need stars or a label."""
    time: bool = False
    """Whether records need a date."""
    labels: LabelsConfig = _DEFAULT_LABELS
    """How stars become classes; checked against the values of the label column."""


def detect_file(
    file: Location, config: InputConfig, needs: Needs, model: InputConfig | None = None
) -> Detection | None:
    """Format and columns of a file, from its first records.

    Args:
        model: the settings, completed by the columns with which a model was trained; used if the file has
            the text columns.
    Returns:
        The format, with the columns that the settings name, then those of the model, then those of the known
        format; None if the file has no text.
    Raises:
        InputError: the format is unknown, no record has a configured column, or the values of a needed column
            cannot be used; the message lists the fields.
    """
    if model is not None:
        found = _detect_for_model(file, config, model, needs)
        if found is not None:
            return found
    sample = read_sample(file, config)
    if sample is None:
        return None
    fmt, warnings = choose_format(file.uri, sample, config, need_stars=needs.stars)
    named = any(getattr(config, n) is not None for n in NAMED)
    columns = Columns.of(fmt, sample.fields(), "the settings" if named else fmt.name)
    return _detection(file.uri, sample, fmt, columns, warnings, config, needs)


def _detection(
    uri: str,
    sample: Sample,
    fmt: Format,
    columns: Columns,
    warnings: list[str],
    config: InputConfig,
    needs: Needs,
) -> Detection:
    """The format completed by what the values show, and warnings about them."""
    check_texts(uri, columns, sample.records)
    ratings, times = sample.values(fmt.stars), sample.values(fmt.timestamp)
    scale = _check_labels(uri, fmt, needs.labels, ratings) if needs.stars else None
    if needs.time:
        check_dates(uri, fmt.timestamp, times, sample.fields())
    found = [*sample.warnings, *warnings]
    if columns.stars is not None:
        found += scale_warnings(fmt.stars, ratings, needs.labels, need_stars=needs.stars)
    if needs.stars:
        labels = labels_of_texts(fmt, [*sample.records, *sample.more])
        found += unrated_warnings(fmt.stars, labels, needs.labels, config.max_rejected_frac)
    if fmt.timestamp is not None and (needs.time or config.timestamp is not None):
        found += date_warnings(fmt.timestamp, times)
    found += value_warnings(columns, [*sample.records, *sample.more], config)
    complete = replace(fmt, scale=scale, day_first=day_order(times))
    return Detection(complete, columns, sample.notes, tuple(found))


def _detect_for_model(
    file: Location, config: InputConfig, model: InputConfig, needs: Needs
) -> Detection | None:
    """Detection with the columns of a model; None if the file lacks its text columns."""
    sample = read_sample(file, config)
    if sample is None:
        return None
    if model.columns and not config.columns and not set(model.text or ()).issubset(sample.fields()):
        sample = _headerless(file, model) or sample
    fields = sample.fields()
    # A dump to score may lack the stars and the IDs of the training data.
    absent = {n: None for n in NAMED[1:] if getattr(config, n) is None and getattr(model, n) not in fields}
    model = model.model_copy(update=absent)
    try:
        fmt, warnings = choose_format(file.uri, sample, model, need_stars=False)
    except MissingColumnError:
        return None
    columns = Columns.of(fmt, fields, "the model")
    return _detection(file.uri, sample, fmt, columns, warnings, model, needs)


def _headerless(file: Location, model: InputConfig) -> Sample | None:
    """Sample of a CSV file whose first line is a record with the columns of a model; None if it is not."""
    try:
        sample = read_sample(file, model)
    except InputError:
        return None
    if sample is None or sample.dialect.syntax != "csv":
        return None
    # In a header, the field of the stars is a name.
    first = as_word(sample.records[0].get(model.stars)) if model.stars else None
    return sample if first is not None and read_rating(first) is not None else None


def _check_labels(uri: str, chosen: Format, labels: LabelsConfig, values: Sequence[object]) -> Scale | None:
    """Scale of the stars, if it is certain.

    Raises:
        InputError: the label column has values, but none is a star rating (or one of labels.words), or the
            ratings are on another scale than the settings say.
    """
    words = sorted({word for value in values if (word := as_word(value))})
    if labels.scheme != "words":
        observed = Observed.of(values, labels.unrated or ())
        rated = observed.ratings or any(map(RatingRule(unrated=labels.unrated or ()).is_unrated, words))
        if words and not rated:
            words = in_order(words)
            few = len(words) <= _MAX_CLASSES
            classes = quoted_setting("labels.words", words) if few else "labels.words=…"
            raise InputError(
                f"{uri}: {chosen.stars} contains words, not star ratings: {join_names(words[:3])}; use them"
                f" as classes, in order, with --set labels.scheme=words,{classes}"
            )
        return check_scale(uri, chosen.stars, observed, labels)
    if labels.words is None or not set(words).intersection(labels.words):
        words = in_order(words)
        shown = join_names([",".join(words[:8]) + (",…" if len(words) > 8 else "")])
        given = f"labels.words={','.join(labels.words)}" if labels.words else "labels.scheme=words"
        raise InputError(
            f"{uri}: {given}, but the labels of the first lines in {chosen.stars} are"
            f" {shown or 'all empty'}; list the classes in order with --set labels.words=…"
        )
    return None
