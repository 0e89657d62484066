"""Dump formats: which field means what, and how lines become a typed table.

A new JSON-lines format is one entry in `FORMATS`. Optional fields may be absent from any line, and
numbers may come as strings: re-exports of the Amazon dumps do both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.chunks import head_bytes
from pipeline.ingest.rejects import RejectedLine
from pipeline.storage import Location

ENCODED = "encoded"
"""Name of the format of data/{train,val,test}: rows that `prepare` has encoded already."""

_SAMPLE_BYTES = 1 << 18
_SAMPLE_LINES = 200
_PARQUET_MAGIC = b"PAR1"
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_CARRIED_FIELDS = ("asin", "user_id", "timestamp", "verified")
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class Format:
    """Which fields of a dump hold what we use."""

    name: str
    text: tuple[str, ...]
    """Fields joined into the text, in this order."""
    stars: str
    asin: str
    user_id: str
    timestamp: str
    timestamp_unit: str
    """s or ms."""
    verified: str

    def is_in(self, fields: Iterable[str], *, need_stars: bool) -> bool:
        """Whether lines with these fields are in this format: a text field, and stars if they are needed."""
        known = set(fields)
        return (self.stars in known or not need_stars) and bool(known.intersection(self.text))


FORMATS = (
    # 2014 and 2018 use the same names for the fields that we read.
    Format(
        name="amazon_2018",
        text=("summary", "reviewText"),
        stars="overall",
        asin="asin",
        user_id="reviewerID",
        timestamp="unixReviewTime",
        timestamp_unit="s",
        verified="verified",
    ),
)

ROW_SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("text", pa.string()),
        ("asin", pa.string()),
        ("user_id", pa.string()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("verified", pa.bool_()),
        ("stars", pa.float32()),
    ]
)
"""A parsed line. text: null where no text field is there. stars: null where absent, NaN where no number."""


def detect_format(file: Location, config: InputConfig, *, need_stars: bool = True) -> Format | None:
    """Tell a file's format from the fields of its first lines.

    Args:
        need_stars: whether lines without stars are of no use.
    Returns:
        The format, with the columns that the settings name; None for an empty file.
    Raises:
        InputError: no known format, or a configured column that no line has; the fields seen are named.
    """
    head = head_bytes(file, _SAMPLE_BYTES)
    if not head:
        return None
    if head.startswith(_PARQUET_MAGIC):
        raise InputError(
            f"{file.uri}: a Parquet file that jobs.prepare did not write; dumps are read as JSON lines"
        )
    fields = _fields_of(head)
    if not fields:
        raise InputError(
            f"{file.uri}: none of its first lines is a JSON object; dumps are read as JSON lines"
        )
    base = next((f for f in FORMATS if f.is_in(fields, need_stars=need_stars)), None)
    if base is None and (config.text is None or (need_stars and config.stars is None)):
        options = "--set input.text=…" + (" --set input.stars=…" if need_stars else "")
        raise InputError(
            f"{file.uri}: no known review format; its fields are {', '.join(sorted(fields))};"
            f" name the columns with {options}"
        )
    chosen = base or FORMATS[0]
    chosen = replace(chosen, text=config.text or chosen.text, stars=config.stars or chosen.stars)
    _check_columns(file, chosen, config, fields)
    return chosen


def _check_columns(file: Location, chosen: Format, config: InputConfig, fields: set[str]) -> None:
    """Raise InputError for a configured column that no line has, or one that is used twice."""
    for setting, names in (("input.text", config.text or ()), ("input.stars", (config.stars,))):
        for name in names:
            if name is not None and name not in fields:
                raise InputError(
                    f"{file.uri}: {setting}={name}, but no line has this field; its fields are"
                    f" {', '.join(sorted(fields))}"
                )
    used = Counter((*chosen.text, chosen.stars, *(getattr(chosen, name) for name in _CARRIED_FIELDS)))
    for name, times in used.items():
        if times > 1:
            raise InputError(
                f"{file.uri}: field {name} is used twice: input.text={','.join(chosen.text)},"
                f" input.stars={chosen.stars}, and {', '.join(_CARRIED_FIELDS)} of {chosen.name}"
            )


def _fields_of(head: bytes) -> set[str]:
    lines = head.split(b"\n")[:_SAMPLE_LINES]
    fields: set[str] = set()
    for line in lines:
        try:
            record = msgspec.json.decode(line)
        except _DECODE_ERRORS:
            continue
        if isinstance(record, dict):
            fields.update(record)
    return fields


def parse_lines(
    raw: bytes, first_line: int, form: Format, separator: str
) -> tuple[pa.Table, list[RejectedLine]]:
    """Parse a chunk of JSON lines.

    Args:
        first_line: number of the first line of `raw` in its file.
        separator: put between the text fields of a line.
    Returns:
        A table of ROW_SCHEMA, and the lines that are no JSON object. Each line is in one of the two.
    """
    records, numbers, rejected = _decode(raw, first_line, _decoder(form))
    columns = {
        "line": pa.array(numbers, pa.int64()),
        "text": _string_array([r.texts(separator) for r in records]),
        "asin": _string_array([r.asin for r in records]),
        "user_id": _string_array([r.user_id for r in records]),
        "timestamp": _timestamps([r.timestamp for r in records], form.timestamp_unit),
        "verified": pa.array([_flag(r.verified) for r in records], pa.bool_()),
        "stars": _stars([r.stars for r in records]),
    }
    return pa.table(columns, schema=ROW_SCHEMA), rejected


def _decode(
    raw: bytes, first_line: int, decoder: msgspec.json.Decoder[Any]
) -> tuple[Sequence[Any], Sequence[int] | np.ndarray[Any, Any], list[RejectedLine]]:
    lines = raw.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:
        records = decoder.decode_lines(raw)
        # decode_lines passes over blank lines; then the numbers must be found one by one.
        if len(records) == len(lines):
            return records, np.arange(first_line, first_line + len(lines)), []
    except _DECODE_ERRORS:
        pass
    return _decode_each(lines, first_line, decoder)


def _decode_each(
    lines: list[bytes], first_line: int, decoder: msgspec.json.Decoder[Any]
) -> tuple[list[Any], list[int], list[RejectedLine]]:
    """The slow path of a chunk with at least one odd line: no line costs another."""
    records, numbers, rejected = [], [], []
    offset = 0
    for number, line in enumerate(lines, start=first_line):
        try:
            records.append(_decode_line(line, decoder))
            numbers.append(number)
        except _NotAnObjectError as error:
            rejected.append(RejectedLine(number, offset, "not_an_object", str(error), line))
        except UnicodeDecodeError as error:
            rejected.append(RejectedLine(number, offset, "bad_encoding", str(error), line))
        except (msgspec.DecodeError, RecursionError) as error:
            reason = "bad_json" if line.strip() else "empty_line"
            rejected.append(RejectedLine(number, offset, reason, str(error), line))
        offset += len(line) + 1
    return records, numbers, rejected


class _NotAnObjectError(Exception):
    """A line that is JSON, and no object."""


def _decode_line(line: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """A record; its fields may be of any type where the line has values of the wrong kind."""
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        value = msgspec.json.decode(line)
    if not isinstance(value, dict):
        raise _NotAnObjectError(f"a JSON {type(value).__name__}, not an object")
    fields = {}
    for field in msgspec.structs.fields(decoder.type):
        found = value.get(field.encode_name)
        scalar = found if isinstance(found, (str, float, int, type(None))) else None
        if isinstance(found, bool) and field.name != "verified":
            scalar = str(found)  # Else true would be one star.
        is_text = field.name.startswith("text") or field.name in ("asin", "user_id")
        fields[field.name] = str(scalar) if is_text and scalar is not None else scalar
    return decoder.type(**fields)


@lru_cache(maxsize=32)
def _decoder(form: Format) -> msgspec.json.Decoder[Any]:
    """A typed decoder of the fields that are used; the rest of a line is skipped, not built."""
    number = float | str | None
    text_names = [f"text_{i}" for i in range(len(form.text))]
    fields: list[tuple[str, Any, Any]] = [
        (name, str | None, None) for name in (*text_names, "asin", "user_id")
    ]
    fields += [
        ("timestamp", number, None),
        ("verified", bool | float | str | None, None),
        ("stars", number, None),
    ]
    rename = dict(zip(text_names, form.text, strict=True))
    rename |= {n: getattr(form, n) for n in ("asin", "user_id", "timestamp", "verified", "stars")}

    def texts(self: Any, separator: str) -> str | None:
        parts = [p for p in (getattr(self, n) for n in text_names) if p is not None]
        return separator.join(parts) if parts else None

    record = msgspec.defstruct("Record", fields, rename=rename, namespace={"texts": texts})
    return msgspec.json.Decoder(record)


def _string_array(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


def _stars(values: list[Any]) -> pa.Array:
    """float32 stars; null where absent, NaN where there is something that is no number."""
    try:
        return pa.array(values, pa.float32())
    except (pa.ArrowException, TypeError, OverflowError):
        return pa.array([None if v is None else _number(v) for v in values], pa.float32())


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _timestamps(values: list[Any], unit: str) -> pa.Array:
    """Milliseconds since 1970, UTC; null where absent, no number, or not within the years 1 to 9999."""
    factor = 1000 if unit == "s" else 1
    numbers = np.array([np.nan if v is None else _number(v) for v in values], np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        numbers = numbers * factor
        usable = (numbers >= _FIRST_MS) & (numbers <= _LAST_MS)
    whole = np.where(usable, numbers, 0).astype(np.int64)
    return pa.array(whole, pa.int64(), mask=~usable).cast(pa.timestamp("ms", tz="UTC"))


def _flag(value: Any) -> bool | None:
    if value is None or value.__class__ is bool:
        return value
    return {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(
        str(value).strip().lower()
    )
