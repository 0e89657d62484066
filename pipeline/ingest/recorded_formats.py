"""Formats of the input files in run.json: a resumed job reads the same columns, and cuts files as before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipeline.errors import OutputError
from pipeline.ingest.detect.columns import Columns
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Dialect, Format

_COLUMNS = ("text", "stars", *CARRIED_FIELDS, "day_first")
"""Fields of a Format that determine the rows."""


def dialects_of(sources: Iterable[Source]) -> dict[str, Any]:
    """Dialect of each file whose records the sample determines, as plain data, by URI."""
    return {s.uri: s.fmt.dialect.as_dict() for s in sources if isinstance(s.fmt, Format) and _is_cut(s.fmt)}


def columns_of(sources: Iterable[Source]) -> dict[str, Any]:
    """Columns of each file, as plain data, by URI."""
    formats = {s.uri: s.fmt for s in sources if isinstance(s.fmt, Format) and s.columns is not None}
    found = {uri: {name: getattr(fmt, name) for name in _COLUMNS} for uri, fmt in formats.items()}
    return {uri: values | {"text": list(values["text"])} for uri, values in found.items()}


def with_recorded(
    sources: Iterable[Source],
    dialects: Mapping[str, Any] | None,
    columns: Mapping[str, Any] | None,
    output: str,
    known: Iterable[str],
) -> list[Source]:
    """Sources with the formats of an earlier job.

    Args:
        dialects: what `dialects_of` returned then; None if run.json is of a version that did not store it.
        columns: what `columns_of` returned then; None as for `dialects`.
        output: URI of the output directory.
        known: URIs of the inputs of that job; other files keep their formats.
    Raises:
        OutputError: that job may have divided a file into other records.
    """
    before = set(known)
    return [_recorded(s, dialects or {}, columns or {}, output) if s.uri in before else s for s in sources]


def _recorded(source: Source, dialects: Mapping[str, Any], columns: Mapping[str, Any], output: str) -> Source:
    if not isinstance(source.fmt, Format):
        return source
    fmt, own = _recorded_format(source.uri, source.fmt, dialects, columns, output), source.columns
    if own is None:
        return replace(source, fmt=fmt)
    names = [*own.text, *filter(None, [own.stars]), *own.carried.values(), *own.unused]
    return replace(source, fmt=fmt, columns=Columns.of(fmt, names, own.chosen_by))


def _recorded_format(
    uri: str, fmt: Format, dialects: Mapping[str, Any], columns: Mapping[str, Any], output: str
) -> Format:
    values: dict[str, Any] = {n: v for n, v in columns.get(uri, {}).items() if n in _COLUMNS}
    if values:
        fmt = replace(fmt, **values | {"text": tuple(values["text"])})
    if not _is_cut(fmt):
        return fmt
    try:
        return replace(fmt, dialect=Dialect.of_dict(dialects[uri]))
    except (KeyError, TypeError):
        raise OutputError(
            f"{output}: begun by another version of rayview, which divided {uri} into records differently;"
            " use --overwrite to start over"
        ) from None


def _is_cut(fmt: Format) -> bool:
    """Whether the sample determines where records end."""
    return fmt.dialect.syntax in ("csv", "elements")
