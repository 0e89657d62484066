"""Dump formats: which field means what, and how records are written.

A new format is one entry in `FORMATS`. Optional fields may be absent from any record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pipeline.ingest.read.chunks import MAX_LINE_BYTES, Cutting
from pipeline.ingest.read.cutting import LINES, QuotedRecords

ENCODED = "encoded"
"""Name of the format of data/{train,val,test}: rows that `prepare` has encoded already."""

CARRIED_FIELDS = ("asin", "user_id", "timestamp", "verified")


@dataclass(frozen=True)
class Dialect:
    """How the records of a file are written."""

    syntax: Literal["json", "python", "csv", "parquet"] = "json"
    """json: an object a line; python: a dict literal a line, as the oldest dumps have them."""
    start_bytes: int = 0
    """Text before the first record: a byte order mark, a CSV header."""
    columns: tuple[str, ...] = ()
    """Of a CSV file, in order."""
    delimiter: str = ","
    quoted: bool = False
    """Whether a field of CSV that begins with a quote ends with one, and may hold delimiters and line ends
    between them."""

    def cutting(self, chunk_bytes: int, max_line_bytes: int = MAX_LINE_BYTES) -> Cutting:
        """How a file in this dialect is cut."""
        quoted = self.syntax == "csv" and self.quoted
        rule = QuotedRecords(self.delimiter.encode(), max_line_bytes) if quoted else LINES
        return Cutting(chunk_bytes, max_line_bytes, rule, self.start_bytes)

    def __str__(self) -> str:
        if self.syntax != "csv":
            return {"json": "JSON lines", "python": "Python literals", "parquet": "Parquet"}[self.syntax]
        return "TSV" if self.delimiter == "\t" else "CSV"


@dataclass(frozen=True)
class ParseOptions:
    """What parsing depends on besides the format."""

    separator: str = " "
    """Put between the text fields of a record."""
    max_line_bytes: int = MAX_LINE_BYTES
    """Longer records are rejected."""
    words: bool = False
    """Whether what stands in the field of the stars is a word."""


@dataclass(frozen=True)
class Format:
    """Which fields of a dump hold what we use; None where it has no such field."""

    name: str
    text: tuple[str, ...]
    """Fields joined into the text, in this order."""
    stars: str
    asin: str | None
    user_id: str | None
    timestamp: str | None
    """Seconds or milliseconds since 1970, told apart by their size, or a date as 2015-08-31 or 20150831."""
    verified: str | None
    product: str | None = None
    """The product, where `asin` is one of its variants (a colour, a size); read only in place of that."""
    mark: str | None = None
    """A field that tells it from a format with the same names."""
    dialect: Dialect = Dialect()

    def fields(self) -> tuple[str, ...]:
        """All fields that are read."""
        return (*self.text, self.stars, *(f for n in CARRIED_FIELDS if (f := getattr(self, n)) is not None))

    def is_in(self, fields: Iterable[str], *, need_stars: bool) -> bool:
        """Whether records with these fields are in this format: a text field, and stars if needed."""
        known = set(fields)
        marked = self.mark is None or self.mark in known
        return marked and (self.stars in known or not need_stars) and bool(known.intersection(self.text))


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
        mark="helpful",
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


def find_format(fields: Iterable[str], *, need_stars: bool) -> Format | None:
    """The format that most of some fields belong to; None if none has what is needed."""
    known = set(fields)
    fitting = [f for f in FORMATS if f.is_in(known, need_stars=need_stars)]
    return max(fitting, key=lambda f: len(known.intersection((*f.fields(), f.mark))), default=None)
