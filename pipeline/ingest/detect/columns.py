"""Choice of the columns of a file: those that the settings name, or those of a known format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from pipeline.config import InputConfig
from pipeline.errors import InputError, MissingColumnError, UnknownColumnsError
from pipeline.ingest.detect.records import Sample, join_names, shown_name
from pipeline.ingest.detect.stars import choose_stars
from pipeline.ingest.parse.formats import (
    CARRIED_FIELDS,
    FASTTEXT,
    FORMATS,
    Format,
    match_format,
    nearest_format,
)

NAMED = ("text", "stars", *CARRIED_FIELDS)
"""Settings of section `input` that name a column, and fields of Format."""


@dataclass(frozen=True)
class Columns:
    """Columns of one file: what is read from which, and what is not read."""

    text: tuple[str, ...]
    """Columns that are joined to the text."""
    stars: str | None
    """Column of the stars or labels; None if the file has none."""
    carried: dict[str, str]
    """Other columns that are read, by their name in the output: asin, user_id, timestamp, verified."""
    unused: tuple[str, ...]
    chosen_by: str
    """`the settings`, `the model`, or the name of the known format."""
    has_paths: bool = False
    """Whether dots in the names separate the keys of nested objects."""

    @classmethod
    def of(cls, fmt: Format, fields: Iterable[str], chosen_by: str) -> Columns:
        """Columns of a format that a file with these fields has."""
        names = list(fields)
        carried = {n: f for n in CARRIED_FIELDS if (f := getattr(fmt, n)) in names}
        text = tuple(f for f in fmt.text if f in names)
        stars = fmt.stars if fmt.stars in names else None
        used = {*text, stars, *carried.values()}
        unused = tuple(n for n in names if n not in used)
        return cls(text, stars, carried, unused, chosen_by, fmt.dialect.syntax not in ("csv", "fasttext"))

    def has(self, name: str | None) -> bool:
        """Whether the file has a column, according to its first records."""
        return name in (*self.text, self.stars, *self.carried.values(), *self.unused)

    def __str__(self) -> str:
        """One line: `text = title + body, stars = rating; not used: …`."""
        text = " + ".join(map(shown_name, self.text))
        parts = [f"text = {text}, stars = {'none' if self.stars is None else shown_name(self.stars)}"]
        parts.append(f"not used: {join_names(self._short_unused()) or 'none'}")
        if self.carried:
            kept = (n if n == f else f"{shown_name(f)} as {n}" for n, f in self.carried.items())
            parts.append(f"also read: {', '.join(kept)}")
        return "; ".join(parts)

    def _short_unused(self) -> list[str]:
        """Names of unused columns; an object of which no field is used is named once."""
        used = {name.partition(".")[0] for name in (*self.text, self.stars or "", *self.carried.values())}
        short = (n if not self.has_paths else n.partition(".")[0] for n in self.unused)
        names = (n if s in used else s for n, s in zip(self.unused, short, strict=True))
        return list(dict.fromkeys(names))


def choose_format(
    uri: str, sample: Sample, config: InputConfig, *, need_stars: bool
) -> tuple[Format, list[str]]:
    """Format of a file, with the columns that the settings name, and warnings about the choice.

    Raises:
        UnknownColumnsError: the fields belong to no known format, and the settings do not name columns.
        InputError: no record has a configured column, or a column is used twice.
    """
    fields = sample.fields()
    is_fasttext = sample.dialect.syntax == "fasttext"
    base = FASTTEXT if is_fasttext else match_format(fields, need_stars=need_stars and config.stars is None)
    if base is None:
        if config.text is None:
            raise _unknown(uri, sample, need_stars=need_stars)
        base = _custom_format(fields)
    chosen = _with_columns(base, config)
    _check_columns(uri, config, fields)
    stars, warnings = choose_stars(chosen.stars, chosen.text, sample.records, fixed=config.stars is not None)
    if need_stars and stars not in fields:
        raise _unknown(uri, sample, need_stars=True)
    chosen = replace(chosen, stars=stars, dialect=sample.dialect)
    _check_distinct(uri, chosen)
    return chosen, warnings


def _unknown(uri: str, sample: Sample, *, need_stars: bool) -> UnknownColumnsError:
    fields = sample.fields()
    near = nearest_format(fields)
    like = f" (like {near.name}, but without its column {near.text[-1]})" if near else ""
    options = "--set input.text=…" + (" --set input.stars=…" if need_stars else "")
    if sample.dialect.syntax == "csv":
        options += ", and input.columns=… if the first line is not a header"
    return UnknownColumnsError(
        f"{uri}: unknown review format{like}; fields: {join_names(fields)};"
        f" {_lists_of_objects(sample)}name the columns with {options}"
    )


def _lists_of_objects(sample: Sample) -> str:
    """Clause about a field with lists of objects, which may be the reviews; empty without such a field."""
    for name in sample.fields():
        first = next((v[0] for r in sample.records if isinstance(v := r.get(name), list) and v), None)
        if isinstance(first, dict):
            is_array = sample.dialect.syntax == "elements" and sample.dialect.elements.is_array
            path = f"{'.[]' if is_array else ''}.{name}[]"
            is_json = sample.dialect.syntax in ("json", "elements")
            example = f", for example with jq -c '{path}'" if is_json else ""
            return (
                f"if the reviews are the objects in {shown_name(name)}, with {join_names(first)}, write each"
                f" of them to a line of its own{example}; otherwise "
            )
    return ""


def _custom_format(fields: Collection[str]) -> Format:
    """Format of a file that matches no known one; fields with a known name keep their meaning."""
    base = FORMATS[0]
    known = {n: _first(fields, {getattr(f, n) for f in FORMATS}) for n in CARRIED_FIELDS}
    stars = _first(fields, {f.stars for f in FORMATS}) or base.stars
    return replace(base, name="by columns", marker=None, stars=stars, **known)  # type: ignore[arg-type]


def _first(fields: Collection[str], wanted: Collection[str | None]) -> str | None:
    return next((f for f in sorted(fields) if f in wanted), None)


def _with_columns(base: Format, config: InputConfig) -> Format:
    configured = {n: getattr(config, n) for n in NAMED}
    configured = {name: value for name, value in configured.items() if value is not None}
    # A column that the settings name for one purpose does not keep the purpose that its name suggests.
    taken = {*(config.text or ()), *(v for n, v in configured.items() if n != "text")}
    freed = {n: None for n in CARRIED_FIELDS if base.name == "by columns" and getattr(base, n) in taken}
    return replace(base, **(freed | configured))


def _check_columns(uri: str, config: InputConfig, fields: Collection[str]) -> None:
    """Raise MissingColumnError for a configured column that no record has."""
    configured = {n: getattr(config, n) for n in NAMED[1:]}
    for setting, names in {
        "text": config.text or (),
        **{n: (v,) for n, v in configured.items() if v},
    }.items():
        for name in names:
            if name not in fields:
                raise MissingColumnError(
                    f"{uri}: input.{setting}={name}, but no line has this field; fields: {join_names(fields)}"
                )


def _check_distinct(uri: str, chosen: Format) -> None:
    """Raise InputError if a column is used twice."""
    name, count = Counter(chosen.fields()).most_common(1)[0]
    if count > 1:
        used = ", ".join(f"input.{n}={v}" for n in NAMED[1:] if (v := getattr(chosen, n)) is not None)
        raise InputError(f"{uri}: field {name} is used twice: input.text={','.join(chosen.text)}, {used}")
