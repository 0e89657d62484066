"""Dialects in run.json of files whose records are not lines: a resumed job cuts them as before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipeline.errors import OutputError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import Dialect, Format


def dialects_of(sources: Iterable[Source]) -> dict[str, Any]:
    """Dialect of each file whose records the sample determines, as plain data, by URI."""
    return {s.uri: s.fmt.dialect.as_dict() for s in sources if _is_stored(s) and isinstance(s.fmt, Format)}


def with_dialects(
    sources: Iterable[Source], stored: Mapping[str, Any] | None, output: str, known: Iterable[str]
) -> list[Source]:
    """Sources with the dialects of an earlier job.

    Args:
        stored: what `dialects_of` returned then; None if run.json is of a version that did not store it.
        output: URI of the output directory.
        known: URIs of the inputs of that job; other files keep their dialect.
    Raises:
        OutputError: that job may have divided a file into other records.
    """
    before = set(known)
    return [_restored(s, stored, output) if _is_stored(s) and s.uri in before else s for s in sources]


def _restored(source: Source, stored: Mapping[str, Any] | None, output: str) -> Source:
    assert isinstance(source.fmt, Format)
    try:
        dialect = Dialect.of_dict((stored or {})[source.uri])
    except (KeyError, TypeError):
        raise OutputError(
            f"{output}: begun by another version of rayview, which divided {source.uri} into records"
            " differently; use --overwrite to start over"
        ) from None
    return replace(source, fmt=replace(source.fmt, dialect=dialect))


def _is_stored(source: Source) -> bool:
    return isinstance(source.fmt, Format) and source.fmt.dialect.syntax in ("csv", "elements")
