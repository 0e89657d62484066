"""Examination of one file: detection, a sample, and the settings with which it can be read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.config import Config
from pipeline.errors import InputError, MissingColumnError, RayviewError, ScaleError, UnknownFormatError
from pipeline.humanize import printable
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe
from pipeline.ingest.detect.checks import missing_words
from pipeline.ingest.detect.identify import empty_reason
from pipeline.ingest.detect.records import SAMPLE_RECORDS, Sample
from pipeline.ingest.detect.sample import read_sample
from pipeline.ingest.detect.scale_guess import Observed
from pipeline.ingest.detect.scales import narrower_scale
from pipeline.ingest.detect.sources import Source, find_sources
from pipeline.ingest.detect.unrated import labels_of_texts, unrated_words
from pipeline.ingest.parse.columns import as_word
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.parquet import read_parquet_head
from pipeline.ingest.parse.rejects import Reason
from pipeline.ingest.read.compression import codec_of, read_head
from pipeline.overrides import written_value
from pipeline.peek.facts import Facts, collect
from pipeline.peek.propose import propose
from pipeline.peek.sampling import Estimate, Sampled, exact_rows, sample_chunks
from pipeline.settings import read_sets
from pipeline.storage.location import Location

_EXAMPLES = 3
_EXAMPLE_CHARS = 40


@dataclass(frozen=True)
class ColumnFact:
    """A column of a file."""

    name: str
    role: str
    """text, stars, asin, user_id, timestamp, verified, or empty if it is not used."""
    examples: list[str]


@dataclass
class FileReport:
    """What a file contains."""

    uri: str
    size_bytes: int | None = None
    error: str | None = None
    """Why the file cannot be read with the settings; the other fields then describe what could be read."""
    format: str | None = None
    compression: str | None = None
    columns: list[ColumnFact] = field(default_factory=list)
    columns_used: str | None = None
    """One line: text = …, stars = …; not used: …"""
    rows: Estimate | None = None
    sampled_rows: int = 0
    """Number of records in the sample, rejected ones included."""
    sampled_bytes: int = 0
    whole: bool = False
    """Whether the sample is the whole file."""
    spread: bool = False
    """Whether the sample is from several positions of the file."""
    facts: Facts = field(default_factory=Facts)
    warnings: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    """Settings that this file needs, in addition to those given: values by name, as `--set` takes them."""
    has_stars: bool = False
    seconds: float = 0.0


def examine(
    file: Location, config: Config, tokenizer: str | None, *, max_bytes: int, deadline: float
) -> FileReport:
    """Report on a file; an error of the file is part of the report.

    Args:
        config: settings with which the file is read; columns in no known format are proposed.
        tokenizer: content of tokenizer.json; None: facts about tokens are left out.
        max_bytes: maximum size of the sample.
        deadline: time.monotonic() at which sampling stops.
    """
    start, report = time.monotonic(), FileReport(file.uri)
    try:
        report.size_bytes = file.info().size
        _examine(file, config, tokenizer, report, max_bytes, deadline)
    except RayviewError as error:
        report.error = report.error or str(error).removeprefix(f"{file.uri}: ")
    report.seconds = round(time.monotonic() - start, 3)
    return report


def _examine(
    file: Location, config: Config, tokenizer: str | None, report: FileReport, max_bytes: int, deadline: float
) -> None:
    report.compression = codec_of(read_head(file, 1).stored) or "not compressed"
    sample = read_sample(file, config.input)
    if sample is None:
        raise InputError(f"{file.uri}: {empty_reason(file)}; nothing to read")
    if sample.dialect.syntax == "parquet":
        # Detection reads only the columns that it needs.
        sample = replace(sample, records=read_parquet_head(file, lambda _: True, SAMPLE_RECORDS)[1])
    report.format = str(sample.dialect)
    report.columns = _columns(sample, {})
    source, config = _detect(file, config, report, sample)
    assert isinstance(source.fmt, Format)
    assert source.columns is not None
    report.format, report.columns_used = source.format_name, str(source.columns)
    report.has_stars = source.columns.stars is not None
    report.warnings += source.warnings
    if config.input.columns:
        sample = read_sample(file, config.input) or sample
    report.columns = _columns(sample, _roles(source))
    suggested = _suggested(source, sample, config)
    report.settings |= suggested
    config = _with_settings(config, suggested)
    _sample(source, config, tokenizer, report, max_bytes, deadline)


def _detect(file: Location, config: Config, report: FileReport, sample: Sample) -> tuple[Source, Config]:
    """The file as a source, and the settings completed by those that it needs."""
    try:
        source = _source(file, config)
    except MissingColumnError:
        raise
    except UnknownFormatError as error:
        proposed = propose(sample, config.input)
        if "input.stars" not in proposed.settings:
            unlabeled = _unlabeled(file, config)
            if unlabeled is not None:
                return unlabeled, config
        if not proposed.settings:
            raise
        report.warnings += proposed.warnings
        config = _correct(file, config, report, proposed.settings, error)
        if "input.stars" not in proposed.settings:
            return find_sources([file], config.input, need_stars=False).sources[0], config
        source = _source(file, config)
    if isinstance(source, ScaleError):
        if source.scale is None:
            raise source
        config = _correct(file, config, report, {"labels.scale": str(source.scale)}, source)
        source = find_sources([file], config.input, labels=config.labels).sources[0]
    return source, config


def _suggested(source: Source, sample: Sample, config: Config) -> dict[str, str]:
    """Settings that the values of the columns suggest, in addition to those given."""
    assert isinstance(source.fmt, Format)
    assert source.columns is not None
    found: dict[str, Sequence[str]] = {}
    labels, ratings = config.labels, sample.values(source.columns.stars)
    if source.columns.stars is not None and labels.scheme != "words":
        narrow = narrower_scale(Observed.of(ratings, labels.unrated or ()), labels.rating_scale())
        if narrow is not None and labels.scale is None:
            found["labels.scale"] = [str(narrow)]
        rated = labels_of_texts(source.fmt, [*sample.records, *sample.more])
        found["labels.unrated"] = unrated_words(rated, labels, config.input.max_rejected_frac)
    if config.input.null_values is None:
        records = [*sample.records, *sample.more]
        found["input.null_values"] = missing_words(source.columns, records, config.input)
    return {name: written_value(values) for name, values in found.items() if values}


def _source(file: Location, config: Config) -> Source | ScaleError:
    """The file as a source; or the error that names its rating scale."""
    try:
        return find_sources([file], config.input, labels=config.labels).sources[0]
    except ScaleError as error:
        return error


def _correct(
    file: Location, config: Config, report: FileReport, settings: dict[str, str], error: RayviewError
) -> Config:
    """The settings completed by those that the file needs; the report keeps why it needs them."""
    report.error = report.error or str(error).removeprefix(f"{file.uri}: ")
    report.settings |= settings
    return _with_settings(config, settings)


def _unlabeled(file: Location, config: Config) -> Source | None:
    """The file as a source that can be scored without settings; None if its format is unknown."""
    try:
        return find_sources([file], config.input, need_stars=False).sources[0]
    except UnknownFormatError:
        return None


def _with_settings(config: Config, settings: dict[str, str]) -> Config:
    given = read_sets(f"{name}={value}" for name, value in settings.items())
    return config.replace(**{name.replace(".", "__"): value for name, value in given.items()})


def _sample(
    source: Source, config: Config, tokenizer: str | None, report: FileReport, max_bytes: int, deadline: float
) -> None:
    scheme = label_scheme(config.labels.scheme, config.labels.words) if report.has_stars else None
    recipe = Recipe.from_config(config, scheme)
    sampled = Sampled()
    chunks = sample_chunks(source, max_bytes, deadline, sampled, recipe.limits)
    assert isinstance(source.fmt, Format)
    report.facts = collect(chunks, source.fmt, recipe, tokenizer)
    if _lacks_texts(report.facts, config.input.max_rejected_frac):
        report.settings["input.null_text"] = "skip"
    rows = exact_rows(source)
    report.rows = sampled.estimate(source.size_bytes) if rows is None else Estimate(rows, rows, rows)
    report.sampled_rows, report.sampled_bytes = sum(sampled.lines), sampled.text_bytes
    report.whole, report.spread = sampled.whole, sampled.spread
    report.warnings += _reject_warnings(report.facts, config.input.max_rejected_frac, report.settings)
    if sampled.broken:
        report.warnings.append(f"{sampled.broken}; the lines before that can be read")


def _reject_warnings(facts: Facts, max_rejected_frac: float, settings: Mapping[str, str]) -> list[str]:
    """Warning that more records of the sample are rejected than a job allows."""
    missing = (Reason.MISSING_TEXT, Reason.EMPTY_TEXT) if "input.null_text" in settings else ()
    errors = {r: n for r, n in facts.rejected.items() if not Reason(r).is_filter and Reason(r) not in missing}
    share = sum(errors.values()) / max(1, facts.rows + sum(facts.rejected.values()))
    if share <= max_rejected_frac:
        return []
    return [
        f"{share:.0%} of the records of the sample are rejected as {', '.join(errors)}, more than"
        f" input.max_rejected_frac={max_rejected_frac:g} allows"
    ]


def _lacks_texts(facts: Facts, max_rejected_frac: float) -> bool:
    """Whether more records lack a text than the error budget allows."""
    missing = sum(facts.rejected.get(reason.value, 0) for reason in (Reason.MISSING_TEXT, Reason.EMPTY_TEXT))
    return missing > max_rejected_frac * (facts.rows + sum(facts.rejected.values()))


def _roles(source: Source) -> dict[str, str]:
    columns = source.columns
    assert columns is not None
    roles = dict.fromkeys(columns.text, "text") | {name: role for role, name in columns.carried.items()}
    return roles | ({} if columns.stars is None else {columns.stars: "stars"})


def _columns(sample: Sample, roles: dict[str, str]) -> list[ColumnFact]:
    names = list(sample.dialect.columns) or sample.fields()
    return [ColumnFact(name, roles.get(name, ""), _examples(sample.records, name)) for name in names]


def _examples(records: Sequence[dict[str, Any]], name: str) -> list[str]:
    """The first distinct values of a column, shortened."""
    values = (as_word(record.get(name)) for record in records)
    distinct = dict.fromkeys(printable(v, _EXAMPLE_CHARS, ellipsis="…") for v in values if v)
    return list(distinct)[:_EXAMPLES]
