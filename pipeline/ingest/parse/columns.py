"""Values of a dump, of whatever kind, as typed columns. Re-exports write every value as a string."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import IntArray

Value = str | float | None
"""A value of a record; for type checkers a bool or an int is a float."""

ROW_SCHEMA = pa.schema(
    [
        ("line", pa.int64()),
        ("text", pa.string()),
        ("asin", pa.string()),
        ("user_id", pa.string()),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("verified", pa.bool_()),
        ("stars", pa.float32()),
        ("word", pa.string()),
    ]
)
"""A parsed record. text: null where no text field is there. stars: null where absent, NaN where no number.
word: what stands in the field of the stars where that is a word, or no number where it should be one; else
null. Where stars are words, stars is null."""

_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
_FIRST_SECONDS_AS_MS = 1e11
"""Smaller numbers are seconds: as milliseconds they would be before March 1973."""

_FIRST_DAY, _LAST_DAY = 19900101, 21001231
"""What lies between and reads as a date is one: as seconds it would be of August 1970."""

_1970 = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ODD_VALUE = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""Raised by Arrow for values of a kind or size that a column does not hold."""

_FLAGS = {"true": True, "1": True, "1.0": True, "y": True, "yes": True, "t": True}
_FLAGS |= {"false": False, "0": False, "0.0": False, "n": False, "no": False, "f": False}


def id_array(values: Sequence[Value]) -> pa.Array:
    """(N,) string; numbers as they are written, null where absent."""
    try:
        return pa.array(values, pa.string())
    except _ODD_VALUE:
        return pa.array([as_text(v) if isinstance(v, str) else as_word(v) for v in values], pa.string())


def star_array(values: Sequence[Value]) -> pa.Array:
    """(N,) float32; null where absent, NaN where there is something that is no number."""
    try:
        return pa.array(values, pa.float32())
    except _ODD_VALUE:
        return pa.array([None if _is_blank(v) else _number(v) for v in values], pa.float32())


def word_array(values: Sequence[Value]) -> pa.Array:
    """(N,) string: labels as they are written."""
    return pa.array([as_word(v) for v in values], pa.string())


def as_word(value: object) -> str | None:
    """A label as a word: 1.0 is `1`, and True is `true`; None where there is none."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return as_text(value).strip() or None


def as_text(value: object) -> str:
    """A value as text; what no file can hold (half of a surrogate pair) becomes a question mark."""
    try:
        return str(value).encode(errors="replace").decode()
    except (ValueError, RecursionError):
        # Python writes out no number of more than 4,300 digits, unless in hexadecimal.
        return hex(value) if isinstance(value, int) else type(value).__name__


def flag_array(values: Sequence[Value]) -> pa.Array:
    """(N,) bool; null where absent or unclear."""
    try:
        return pa.array(values, pa.bool_())
    except _ODD_VALUE:
        return pa.array([_flag(v) for v in values], pa.bool_())


def time_array(values: pa.Array | pa.ChunkedArray | Sequence[Value]) -> pa.Array | pa.ChunkedArray:
    """(N,) milliseconds since 1970, UTC.

    Args:
        values: an Arrow column of times; or a sequence of numbers, as seconds, milliseconds, or a date as
            20150831, of such numbers as text, or of dates in ISO 8601.
    Returns:
        Null where absent, not understood, or not within the years 1 to 9999.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return _in_range(values)
    try:
        ms = _as_ms(np.array(values, np.float64))
    except (TypeError, ValueError, OverflowError):
        numbers = np.array([_number(v) for v in values], np.float64)
        ms = _as_ms(numbers)
        for i in np.flatnonzero(np.isnan(numbers)).tolist():
            ms[i] = _iso_ms(values[i])
    with np.errstate(invalid="ignore"):
        usable = (ms >= _FIRST_MS) & (ms <= _LAST_MS)
    whole = np.where(usable, ms, 0).astype(np.int64)
    return pa.array(whole, pa.int64(), mask=~usable).cast(pa.timestamp("ms", tz="UTC"))


def _in_range(times: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    kind = times.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        # A time of day or a length of time.
        return pa.nulls(len(times), pa.timestamp("ms", tz="UTC"))
    ms = pc.cast(times, pa.timestamp("ms", tz="UTC"), safe=False)
    numbers = ms.cast(pa.int64())
    usable = pc.and_(pc.greater_equal(numbers, _FIRST_MS), pc.less_equal(numbers, _LAST_MS))
    return pc.if_else(usable, ms, None)


def _as_ms(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N,) milliseconds, of numbers whose size tells what they are; NaN stays."""
    with np.errstate(invalid="ignore", over="ignore"):
        ms = np.where(np.abs(numbers) < _FIRST_SECONDS_AS_MS, numbers * 1000, numbers)
        days = (numbers >= _FIRST_DAY) & (numbers <= _LAST_DAY) & (numbers % 1 == 0)
    for i in np.flatnonzero(days):
        digits = str(int(numbers[i]))
        day = _iso_ms(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}")
        ms[i] = ms[i] if np.isnan(day) else day
    return ms


def _iso_ms(value: object) -> float:
    """Milliseconds of a date in ISO 8601; NaN where it is none."""
    if not isinstance(value, str):
        return np.nan
    try:
        time = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    except ValueError:
        return np.nan
    aware = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    return (aware - _1970) // timedelta(milliseconds=1)


def _is_blank(value: Value) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _number(value: Value) -> float:
    try:
        return float("nan" if value is None else value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _flag(value: Value) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    return _FLAGS.get(as_text(value).strip().lower())


def repeated(value: str, rows: int) -> pa.DictionaryArray:
    """(N,) dictionary<string> of one value."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], pa.string()))


def join_texts(parts: Sequence[pa.Array], separator: str) -> pa.Array:
    """(N,) string from several of (N,): those that are not null, joined; null where all are."""

    def join(left: pa.Array, right: pa.Array) -> pa.Array:
        if pc.any(pc.and_(left.is_null(), right.is_null())).as_py():
            # What Arrow 26 joins with null_handling="skip" is too short then.
            return pc.coalesce(pc.binary_join_element_wise(left, right, separator), left, right)
        return pc.binary_join_element_wise(left, right, separator, null_handling="skip")

    return reduce(join, parts)


def row_table(
    lines: Sequence[int] | IntArray,
    text: pa.Array | Sequence[str | None],
    words: bool,
    **values: pa.Array | Sequence[Value],
) -> pa.Table:
    """A table of ROW_SCHEMA.

    Args:
        lines: (N,) int64, numbers of the records.
        text: (N,) joined texts, an Arrow array or values.
        words: whether what stands in the field of the stars is a word.
        values: asin, user_id, timestamp, verified and stars, (N,) each, as the dump has them.
    """
    stars = pa.nulls(len(text), pa.float32()) if words else star_array(values["stars"])
    columns = {
        "line": pa.array(lines, pa.int64()),
        "text": pa.array(text, pa.string()),
        "asin": id_array(values["asin"]),
        "user_id": id_array(values["user_id"]),
        "timestamp": time_array(values["timestamp"]),
        "verified": flag_array(values["verified"]),
        "stars": stars,
        "word": word_array(values["stars"]) if words else _odd_words(stars, values["stars"]),
    }
    return pa.table(columns, schema=ROW_SCHEMA)


def _odd_words(stars: pa.Array, values: Sequence[Value]) -> pa.Array:
    """(N,) string: what stands where there should be stars and is no number; null where it is one."""
    odd = pc.fill_null(pc.is_nan(stars), False)
    if not pc.any(odd).as_py():
        return pa.nulls(len(stars), pa.string())
    marks = odd.to_pylist()
    return pa.array([as_word(v) if m else None for v, m in zip(values, marks, strict=True)], pa.string())
