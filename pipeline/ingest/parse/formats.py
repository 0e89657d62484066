"""Dump formats: the meaning of their fields, and the dialect of their records.

A new format is one entry in `FORMATS`. Any record may lack optional fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.ingest.parse.stars import DEFAULT_RULE, RatingRule
from pipeline.ingest.read.chunks import Cutting
from pipeline.ingest.read.csv_records import CsvRecords
from pipeline.ingest.read.csv_syntax import DEFAULT_LINE_LIMIT, CsvSyntax
from pipeline.ingest.read.cutting import LINES, Rule
from pipeline.ingest.read.element_syntax import ElementSyntax
from pipeline.ingest.read.elements import Elements
from pipeline.ingest.read.limits import DEFAULT_LIMITS, ReadLimits
from pipeline.scale import Scale

ENCODED = "encoded"
"""Name of the format of data/{train,val,test}: rows encoded by `prepare`."""

CARRIED_FIELDS = ("asin", "user_id", "timestamp", "verified")


_ANY_ELEMENTS = ElementSyntax()
_SYNTAX_NAMES = {
    "json": "JSON lines",
    "python": "Python literals",
    "fasttext": "fastText",
    "parquet": "Parquet",
}


@dataclass(frozen=True)
class Dialect:
    """Syntax of the records of a file."""

    syntax: Literal["json", "elements", "python", "csv", "fasttext", "parquet"] = "json"
    """json: one object per line; elements: JSON objects in any other layout, such as an array; python: one
    dict literal per line, as in the oldest dumps; fasttext: a label and a text per line."""
    start_bytes: int = 0
    """Bytes of text before the first record: a byte order mark, a CSV header, the start of an array."""
    columns: tuple[str, ...] = ()
    """Column names of a CSV, fastText or Parquet file, in order."""
    delimiter: str = ","
    quoted: bool = False
    """Whether CSV fields may be quoted; a quoted field may contain delimiters and line ends."""
    quote: str = '"'
    """Quote character of CSV fields, if they may be quoted."""
    escape: str = ""
    """Escape character of CSV fields; empty: none."""
    blanks: bool = False
    """Whether blanks around CSV fields are dropped, so that a quote after a blank opens a field."""
    numeric: tuple[int, ...] = ()
    """Positions of the CSV columns that contain only numbers in the sample."""
    line_limit: int = DEFAULT_LINE_LIMIT
    """Physical lines of a CSV record above which its quotes are suspicious."""
    headers: tuple[str, ...] = ()
    """CSV records before the first one, without line ends: what precedes the header, and the header. Their
    bytes as Latin-1. Where one of them occurs again, files were concatenated."""
    blank_lines: bool = False
    """Whether blank lines between CSV records are usual, so that they are no errors."""
    start_lines: int = 0
    """Physical lines of a CSV file before the first record."""
    encoding: str | None = None
    """Encoding of a text file other than UTF-8; it is converted to UTF-8 as it is read."""
    elements: ElementSyntax = _ANY_ELEMENTS
    """How the objects are written if the syntax is `elements`."""

    def csv_syntax(self) -> CsvSyntax:
        """Grammar of the records of a CSV file."""
        return CsvSyntax(
            self.delimiter.encode(),
            self.quote.encode() if self.quoted else b"",
            self.escape.encode(),
            self.blanks,
            len(self.columns),
            self.numeric,
            self.line_limit,
        )

    def cutting(self, chunk_bytes: int, limits: ReadLimits = DEFAULT_LIMITS) -> Cutting:
        """How to cut a file in this dialect into chunks."""
        start_lines = self.start_lines if self.syntax == "csv" else None
        rule = self._rule(limits.max_line_bytes)
        return Cutting(chunk_bytes, limits, rule, self.start_bytes, start_lines, self.encoding)

    def _rule(self, max_line_bytes: int) -> Rule:
        if self.syntax == "elements":
            return Elements(self.elements, max_line_bytes)
        if self.syntax == "csv" and (self.quoted or self.escape):
            return CsvRecords(self.csv_syntax(), max_line_bytes)
        return LINES

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return _as_lists(asdict(self))

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Dialect:
        """The dialect that `as_dict` returned; raises TypeError if a later version wrote it."""
        values = _as_tuples(data)
        return cls(**values | {"elements": ElementSyntax(**_as_tuples(values.get("elements", {})))})

    def __str__(self) -> str:
        if self.syntax == "csv":
            return "TSV" if self.delimiter == "\t" else "CSV"
        if self.syntax == "elements":
            return str(self.elements)
        return _SYNTAX_NAMES[self.syntax]


def _as_lists(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data, in which tuples are lists as in JSON."""
    plain = {n: _as_lists(v) if isinstance(v, dict) else v for n, v in data.items()}
    return {n: list(v) if isinstance(v, tuple) else v for n, v in plain.items()}


def _as_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {n: tuple(v) if isinstance(v, list) else v for n, v in data.items()}


@dataclass(frozen=True)
class ParseOptions:
    """Settings of parsing that do not depend on the format."""

    separator: str = " "
    """Joins the text fields of a record."""
    limits: ReadLimits = DEFAULT_LIMITS
    word_labels: bool = False
    """Whether the stars field holds a label, such as a word, instead of a number."""
    ratings: RatingRule = DEFAULT_RULE
    """How the stars field becomes stars."""
    null_values: tuple[str, ...] = ()
    """Values of the text fields that mean "no text"."""


@dataclass(frozen=True)
class Format:
    """Names of the fields of a dump; None for a field that the dump does not have."""

    name: str
    text: tuple[str, ...]
    """Fields that are joined, in this order, to the text; the last one is the body of the review."""
    stars: str
    asin: str | None
    user_id: str | None
    timestamp: str | None
    """Time since 1970, whose unit is told by the magnitude, or a date; see columns.time_array."""
    verified: str | None
    product: str | None = None
    """Product ID, if `asin` identifies a variant (a color, a size); read only instead of `asin`."""
    marker: str | None = None
    """Field that distinguishes the format from another one with the same names."""
    dialect: Dialect = Dialect()
    scale: Scale | None = None
    """Scale of the ratings, if it is certain from the first records."""
    day_first: bool | None = None
    """Whether the day is first in dates such as 03/05/2012; None: not known, and such dates are null."""

    def fields(self) -> tuple[str, ...]:
        """Names of all fields that are read."""
        return (*self.text, self.stars, *(f for n in CARRIED_FIELDS if (f := getattr(self, n)) is not None))

    def count_shared(self, fields: Iterable[str]) -> int:
        """Number of the given fields that the format has."""
        return len(set(fields).intersection((*self.fields(), self.marker)))

    def matches(self, fields: Iterable[str], *, need_stars: bool) -> bool:
        """Whether records with these fields can have this format: the body, and stars if needed.

        A title and a rating are not enough: product metadata has them, too.
        """
        names = set(fields)
        has_marker = self.marker is None or self.marker in names
        return has_marker and (self.stars in names or not need_stars) and self.text[-1] in names


FORMATS = (
    Format(
        name="amazon_2018",
        text=("summary", "reviewText"),
        stars="overall",
        asin="asin",
        user_id="reviewerID",
        timestamp="unixReviewTime",
        verified="verified",
    ),
    Format(
        name="amazon_2014",
        text=("summary", "reviewText"),
        stars="overall",
        asin="asin",
        user_id="reviewerID",
        timestamp="unixReviewTime",
        verified=None,
        marker="helpful",
    ),
    Format(
        name="amazon_2023",
        text=("title", "text"),
        stars="rating",
        asin="asin",
        user_id="user_id",
        timestamp="timestamp",
        verified="verified_purchase",
        product="parent_asin",
    ),
    Format(
        name="amazon_us_reviews",
        text=("review_headline", "review_body"),
        stars="star_rating",
        asin="product_id",
        user_id="customer_id",
        timestamp="review_date",
        verified="verified_purchase",
    ),
    Format(
        name="google_local",
        text=("text",),
        stars="rating",
        asin="gmap_id",
        user_id="user_id",
        timestamp="time",
        verified=None,
        marker="gmap_id",
    ),
    Format(
        name="yelp",
        text=("text",),
        stars="stars",
        asin="business_id",
        user_id="user_id",
        timestamp="date",
        verified=None,
    ),
)


FASTTEXT = Format(
    name="fasttext", text=("text",), stars="label", asin=None, user_id=None, timestamp=None, verified=None
)
"""Lines of fastText, which are recognized by their syntax and not by their fields."""


def match_format(fields: Iterable[str], *, need_stars: bool) -> Format | None:
    """Format that shares the most fields with the given ones; None if no format matches.

    A format whose stars are there precedes others, so that the text is the same with and without stars.
    """
    names = set(fields)
    matching = [f for f in FORMATS if f.matches(names, need_stars=True)]
    if not matching and not need_stars:
        matching = [f for f in FORMATS if f.matches(names, need_stars=False)]
    return max(matching, key=lambda f: f.count_shared(names), default=None)


def nearest_format(fields: Iterable[str]) -> Format | None:
    """Format that records with these fields resemble although they lack its body; None if there is none."""
    names = set(fields)
    near = [f for f in FORMATS if f.stars in names and names.intersection(f.text)]
    return max(near, key=lambda f: f.count_shared(names), default=None)
