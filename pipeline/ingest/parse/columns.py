"""Conversion of a dump's values, which can have any type, to typed columns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import Float64Array, IntArray
from pipeline.ingest.parse.dates import date_ms
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.stars import DEFAULT_RULE, RatingRule
from pipeline.scale import MAX_STARS, MIN_STARS

Value = str | float | None
"""A value of a record. Type checkers accept bool and int as float."""

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
"""A parsed record. text: null if the record has no text field. stars: on the axis of 1 to 5 stars, outside it
for ratings outside their scale, null if missing, NaN if not a rating, always null with word labels. word: the
label with word labels, else the stars field if it is no rating on the scale."""

_MIN_MS, _MAX_MS = -62_135_596_800_000, 253_402_300_799_999
"""Milliseconds since 1970 of the start of year 1 and the end of year 9999."""

_MIN_EPOCH_MS = 1e11
"""Smaller numbers are seconds: as milliseconds they would be dates before March 1973."""

_MIN_EPOCH_US, _MIN_EPOCH_NS = 1e14, 1e17
"""Larger numbers are microseconds, or nanoseconds: dates from March 1973 on in both units."""

_MIN_DATE, _MAX_DATE = 19900101, 21001231
"""Numbers between that are valid dates (YYYYMMDD) are dates: as seconds they would be in 1970."""

_MIN_MOMENT, _MAX_MOMENT = 19900101000000, 21001231235959
"""Numbers between that are valid dates with a time (YYYYMMDDhhmmss) are dates: as milliseconds they would be
after the year 2600."""

_CONVERSION_ERRORS = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""Raised by Arrow for values whose type or size does not fit the column."""

_FLAGS = {"true": True, "1": True, "1.0": True, "y": True, "yes": True, "t": True}
_FLAGS |= {"false": False, "0": False, "0.0": False, "n": False, "no": False, "f": False}


def id_array(values: Sequence[Value]) -> pa.Array:
    """(N,) string: IDs as written; null if missing."""
    try:
        return pa.array(values, pa.string())
    except _CONVERSION_ERRORS:
        return pa.array([as_text(v) if isinstance(v, str) else as_word(v) for v in values], pa.string())


def star_array(values: Sequence[Value], ratings: RatingRule = DEFAULT_RULE) -> pa.Array:
    """(N,) float32: ratings on the axis of 1 to 5 stars; null if missing, NaN if not a rating.

    Args:
        ratings: the scale of the values. Values outside it become stars outside 1 to 5.
    """
    try:
        numbers = _all_numbers(values)
    except _CONVERSION_ERRORS:
        numbers = pa.array([None if _is_blank(v) else ratings.number(v) for v in values], pa.float64())
    stars = ratings.to_stars(numbers.to_numpy(zero_copy_only=False))
    return pa.array(stars, pa.float32(), mask=numbers.is_null().to_numpy(zero_copy_only=False))


def _all_numbers(values: Sequence[Value]) -> pa.Array:
    """(N,) float64: values that are all numbers, all strings of numbers, or null; raises for any other."""
    if bool in set(map(type, values)):
        # Arrow takes them for 0 and 1.
        raise TypeError("truth values are no numbers")
    if isinstance(next((v for v in values if v is not None), None), str):
        # Much faster than reading each.
        return pa.array(values, pa.string()).cast(pa.float64())
    return pa.array(values, pa.float64())


def word_array(values: Sequence[Value]) -> pa.Array:
    """(N,) string: labels as written; null if missing."""
    return pa.array([as_word(v) for v in values], pa.string())


def as_word(value: object) -> str | None:
    """A label as a string: `1` for 1.0, `true` for True; None if missing or blank."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return as_text(value).strip() or None


def as_text(value: object) -> str:
    """A value as text that UTF-8 can encode: lone surrogates become question marks."""
    try:
        return str(value).encode(errors="replace").decode()
    except (ValueError, RecursionError):
        # Python limits decimal conversion of integers to 4,300 digits; hexadecimal is unlimited.
        return hex(value) if isinstance(value, int) else type(value).__name__


def flag_array(values: Sequence[Value]) -> pa.Array:
    """(N,) bool; null if missing or not recognized."""
    try:
        return pa.array(values, pa.bool_())
    except _CONVERSION_ERRORS:
        return pa.array([_flag(v) for v in values], pa.bool_())


def time_array(
    values: pa.Array | pa.ChunkedArray | Sequence[Value], *, day_first: bool | None = None
) -> pa.Array | pa.ChunkedArray:
    """(N,) timestamp[ms, UTC].

    Args:
        values: an Arrow column of a temporal type; or a sequence of numbers (seconds, milli-, micro- or
            nanoseconds since 1970, or dates as 20150831), of such numbers as strings, or of dates in any
            spelling of dates.py.
        day_first: see dates.date_ms.
    Returns:
        Null if missing, not recognized, or outside the years 1 to 9999.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return _in_range(values)
    try:
        ms = _as_ms(np.array(values, np.float64))
    except (TypeError, ValueError, OverflowError):
        numbers = np.array([_time_number(v) for v in values], np.float64)
        ms = _as_ms(numbers)
        for i in np.flatnonzero(np.isnan(numbers)).tolist():
            ms[i] = date_ms(values[i], day_first=day_first)
    with np.errstate(invalid="ignore"):
        valid = (ms >= _MIN_MS) & (ms <= _MAX_MS)
    integers = np.where(valid, ms, 0).astype(np.int64)
    return pa.array(integers, pa.int64(), mask=~valid).cast(pa.timestamp("ms", tz="UTC"))


def _time_number(value: Value) -> float:
    # Failing to convert a date such as 2015-08-31 would take longer than reading it.
    return np.nan if isinstance(value, str) and value[4:5] == "-" else _number(value)


def _in_range(times: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    kind = times.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        # A time of day or a duration.
        return pa.nulls(len(times), pa.timestamp("ms", tz="UTC"))
    ms = pc.cast(times, pa.timestamp("ms", tz="UTC"), safe=False)
    numbers = ms.cast(pa.int64())
    valid = pc.and_(pc.greater_equal(numbers, _MIN_MS), pc.less_equal(numbers, _MAX_MS))
    return pc.if_else(valid, ms, None)


def _as_ms(numbers: Float64Array) -> Float64Array:
    """(N,) milliseconds, of numbers whose magnitude determines their unit; NaN stays NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(numbers)
        ms = np.where(size < _MIN_EPOCH_MS, numbers * 1000, numbers)
        ms = np.where((size >= _MIN_EPOCH_US) & (size < _MIN_EPOCH_NS), np.floor(numbers / 1000), ms)
        # float64 is exact to about 0.1 microseconds here, so a whole millisecond may appear to be below it.
        ms = np.where(size > _MIN_EPOCH_NS, np.floor(numbers / 1_000_000 + 0.0005), ms)
        dates = (numbers >= _MIN_DATE) & (numbers <= _MAX_DATE) & (numbers % 1 == 0)
        dates |= (numbers >= _MIN_MOMENT) & (numbers <= _MAX_MOMENT) & (numbers % 1 == 0)
    for i in np.flatnonzero(dates):
        digits = str(int(numbers[i]))
        clock = f" {digits[8:10]}:{digits[10:12]}:{digits[12:]}" if len(digits) > 8 else ""
        day = date_ms(f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}{clock}")
        ms[i] = ms[i] if np.isnan(day) else day
    return ms


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
    """(N,) dictionary<int32, string> with the same value in every row."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], pa.string()))


def join_texts(parts: Sequence[pa.Array], separator: str, null_values: Sequence[str] = ()) -> pa.Array:
    """(N,) string: the non-null values of several (N,) columns, joined row by row; null if all are null.

    Args:
        null_values: values that count as null, apart from white space around them.
    """
    if null_values:
        parts = [_with_nulls(part, null_values) for part in parts]

    def join(left: pa.Array, right: pa.Array) -> pa.Array:
        if pc.any(pc.and_(left.is_null(), right.is_null())).as_py():
            # With null_handling="skip", the result of Arrow 26 is too short if both are null.
            return pc.coalesce(pc.binary_join_element_wise(left, right, separator), left, right)
        return pc.binary_join_element_wise(left, right, separator, null_handling="skip")

    return reduce(join, parts)


def _with_nulls(values: pa.Array, null_values: Sequence[str]) -> pa.Array:
    words = pc.utf8_trim_whitespace(values)
    is_null = pc.is_in(words, value_set=pa.array([v.strip() for v in null_values], words.type))
    return pc.if_else(is_null, pa.scalar(None, values.type), values)


def row_table(
    lines: Sequence[int] | IntArray,
    text: pa.Array | Sequence[str | None],
    fmt: Format,
    options: ParseOptions,
    **values: pa.Array | Sequence[Value],
) -> pa.Table:
    """Table of N records with the schema ROW_SCHEMA.

    Args:
        lines: (N,) int64, line numbers of the records.
        text: (N,) joined texts.
        values: asin, user_id, timestamp, verified and stars, (N,) each, as the dump has them.
    """
    if options.word_labels:
        stars, words = pa.nulls(len(text), pa.float32()), word_array(values["stars"])
    else:
        stars = star_array(values["stars"], options.ratings)
        words = _non_ratings(stars, values["stars"])
    columns = {
        "line": pa.array(lines, pa.int64()),
        "text": pa.array(text, pa.string()),
        "asin": id_array(values["asin"]),
        "user_id": id_array(values["user_id"]),
        "timestamp": time_array(values["timestamp"], day_first=fmt.day_first),
        "verified": flag_array(values["verified"]),
        "stars": stars,
        "word": words,
    }
    return pa.table(columns, schema=ROW_SCHEMA)


def _non_ratings(stars: pa.Array, values: Sequence[Value]) -> pa.Array:
    """(N,) string: values of the stars field that are no ratings on the scale; null for ratings."""
    numbers = stars.to_numpy(zero_copy_only=False)
    is_rating = (numbers >= MIN_STARS) & (numbers <= MAX_STARS) | stars.is_null().to_numpy(
        zero_copy_only=False
    )
    if is_rating.all():
        return pa.nulls(len(stars), pa.string())
    words = [None if ok else _as_written(v) for v, ok in zip(values, is_rating.tolist(), strict=True)]
    return pa.array(words, pa.string())


def _as_written(value: Value) -> str | None:
    # 1e300 has 301 digits.
    return repr(value) if isinstance(value, float) and abs(value) >= 1e16 else as_word(value)
