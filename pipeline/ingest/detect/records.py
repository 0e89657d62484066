"""The first records of a file, and the dialect that they are written in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.humanize import printable
from pipeline.ingest.parse.formats import Dialect

SAMPLE_RECORDS = 200
_MAX_SHOWN_CHARS = 300


@dataclass(frozen=True)
class Sample:
    """The first records of a file and the dialect that they are written in."""

    dialect: Dialect
    records: list[dict[str, Any]]
    """With a field for each value of a nested object, such as `review.text`; see nested.flat_records."""
    notes: tuple[str, ...] = ()
    """What was found out about the syntax and is worth reporting, one clause each."""
    warnings: tuple[str, ...] = ()
    """Guesses about the syntax that may be wrong, one sentence each, without the name of the file."""

    more: tuple[dict[str, Any], ...] = ()
    """Further records, which count only for the values of a field."""

    def values(self, field: str | None) -> list[Any]:
        """Values of a field in all records that are known; None where it is absent."""
        return [record.get(field or "") for record in (*self.records, *self.more)]

    def fields(self) -> list[str]:
        """Names of the fields that at least one record has, sorted, those with dots last."""
        # Keys of Python literals can have any type.
        names = {name for record in self.records for name in record if isinstance(name, str)}
        return sorted(names, key=lambda name: (name.count("."), name))


def join_names(names: Iterable[str]) -> str:
    """Names from a file, comma-separated, as one printable line of at most 300 characters."""
    return printable(", ".join(map(shown_name, names)), _MAX_SHOWN_CHARS, ellipsis="…")


def shown_name(name: str) -> str:
    """A name from a file, in quotes if it is empty or contains white space."""
    return name if name and not any(c.isspace() for c in name) else repr(name)
