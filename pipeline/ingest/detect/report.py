"""What was detected about the input files, as lines for people and as plain data for a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.details import FileColumns
from pipeline.ingest.detect.columns import Columns
from pipeline.ingest.detect.sources import Source

_MAX_LINES = 10


def column_lines(sources: Iterable[Source]) -> list[str]:
    """One line for each group of files with the same format and columns, which are read in the same way."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        if source.columns is not None:
            # The name of a known format already says who chose the columns.
            by = source.columns.chosen_by
            chosen = f" (columns from {by})" if by.startswith("the ") else ""
            groups.setdefault(f"{source.format_name}{chosen}: {source.columns}", []).append(source)
    lines = [f"{_names(group)}: {text}" for text, group in groups.items()]
    return _limited(lines, "more kinds of files; see --dry-run")


def warning_lines(sources: Iterable[Source], skipped: Sequence[str]) -> list[str]:
    """One line for each suspicious fact, with the files that it concerns, and for each file left out."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        for warning in source.warnings:
            groups.setdefault(warning, []).append(source)
    lines = [f"{_names(group)}: {text}" for text, group in groups.items()]
    return [f"warning: {line}" for line in _limited([*lines, *skipped], "more warnings; see manifest.json")]


def columns_by_uri(sources: Iterable[Source]) -> dict[str, FileColumns]:
    """Columns of each file, for a manifest."""
    found = {source.uri: source.columns for source in sources if source.columns is not None}
    return {uri: _as_record(columns) for uri, columns in found.items()}


def _as_record(columns: Columns) -> FileColumns:
    return FileColumns(
        text=list(columns.text),
        stars=columns.stars,
        also_read=columns.carried,
        unused=list(columns.unused),
        chosen_by=columns.chosen_by,
    )


def warnings_of(sources: Iterable[Source], skipped: Iterable[str]) -> list[str]:
    """All warnings, one sentence each with the name of its file, for a manifest."""
    return [*(f"{s.uri}: {warning}" for s in sources for warning in s.warnings), *skipped]


def _names(group: Sequence[Source]) -> str:
    more = f" and {len(group) - 1:,} more" if len(group) > 1 else ""
    return f"{group[0].uri}{more}"


def _limited(lines: list[str], more: str) -> list[str]:
    if len(lines) <= _MAX_LINES:
        return lines
    return [*lines[:_MAX_LINES], f"{len(lines) - _MAX_LINES:,} {more}"]
