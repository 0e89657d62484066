"""Dump formats: the meaning of their fields, and the dialect of their records.

A new format is one entry in `FORMATS`. Any record may lack optional fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pipeline.ingest.read.chunks import Cutting
from pipeline.ingest.read.cutting import LINES, QuotedRecords, Rule
from pipeline.ingest.read.element_syntax import ElementSyntax
from pipeline.ingest.read.elements import Elements
from pipeline.ingest.read.limits import DEFAULT_LIMITS, ReadLimits

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
    elements: ElementSyntax = _ANY_ELEMENTS
    """How the objects are written if the syntax is `elements`."""

    def cutting(self, chunk_bytes: int, limits: ReadLimits = DEFAULT_LIMITS) -> Cutting:
        """How to cut a file in this dialect into chunks."""
        return Cutting(chunk_bytes, limits, self._rule(limits.max_line_bytes), self.start_bytes)

    def _rule(self, max_line_bytes: int) -> Rule:
        if self.syntax == "elements":
            return Elements(self.elements, max_line_bytes)
        if self.syntax == "csv" and self.quoted:
            return QuotedRecords(self.delimiter.encode(), max_line_bytes)
        return LINES

    def __str__(self) -> str:
        if self.syntax == "csv":
            return "TSV" if self.delimiter == "\t" else "CSV"
        if self.syntax == "elements":
            return str(self.elements)
        return _SYNTAX_NAMES[self.syntax]


@dataclass(frozen=True)
class ParseOptions:
    """Settings of parsing that do not depend on the format."""

    separator: str = " "
    """Joins the text fields of a record."""
    limits: ReadLimits = DEFAULT_LIMITS
    word_labels: bool = False
    """Whether the stars field holds a label, such as a word, instead of a number."""


@dataclass(frozen=True)
class Format:
    """Names of the fields of a dump; None for a field that the dump does not have."""

    name: str
    text: tuple[str, ...]
    """Fields that are joined, in this order, to the text."""
    stars: str
    asin: str | None
    user_id: str | None
    timestamp: str | None
    """Seconds or milliseconds since 1970, distinguished by magnitude, or a date as 2015-08-31 or 20150831."""
    verified: str | None
    product: str | None = None
    """Product ID, if `asin` identifies a variant (a color, a size); read only instead of `asin`."""
    marker: str | None = None
    """Field that distinguishes the format from another one with the same names."""
    dialect: Dialect = Dialect()

    def fields(self) -> tuple[str, ...]:
        """Names of all fields that are read."""
        return (*self.text, self.stars, *(f for n in CARRIED_FIELDS if (f := getattr(self, n)) is not None))

    def matches(self, fields: Iterable[str], *, need_stars: bool) -> bool:
        """Whether records with these fields can have this format: a text field, and stars if needed."""
        names = set(fields)
        has_marker = self.marker is None or self.marker in names
        return has_marker and (self.stars in names or not need_stars) and bool(names.intersection(self.text))


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
    """Format that shares the most fields with the given ones; None if no format matches."""
    names = set(fields)
    matching = [f for f in FORMATS if f.matches(names, need_stars=need_stars)]
    return max(matching, key=lambda f: len(names.intersection((*f.fields(), f.marker))), default=None)
