"""Conversion of a chunk to clean, labeled rows and rejected lines: parse, clean, filter, label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.arrays import BoolArray, FloatArray, Int32Array
from pipeline.config import Config, LabelsConfig
from pipeline.ingest.clean.labels import UNLABELED, LabelScheme, is_valid_stars
from pipeline.ingest.clean.text import clean
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.parse import RecordLocator, parse_chunk
from pipeline.ingest.parse.rejects import Reason, RejectedLine
from pipeline.ingest.parse.stars import DEFAULT_RULE, RatingRule, advice
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.read.limits import DEFAULT_LIMITS, ReadLimits
from pipeline.scale import plain

_MAX_SHOWN_CHARS = 100
"""Maximum length of a value in the detail of a reject."""

_MAX_DETAIL_CHARS = 200

CARRIED_COLUMNS = ("asin", "user_id", "timestamp", "verified", "stars")
"""Columns that are copied from a dump to its scores unchanged."""

TRUE_LABEL = "true_label"
"""Column of the scores with the label in the dump, if labels are words."""


@dataclass(frozen=True)
class Recipe:
    """Settings of parsing and cleaning; training and scoring use the same."""

    text_separator: str
    max_length: int
    verified_only: bool
    scheme: LabelScheme | None
    """None: rows need no stars and get no label."""
    needs_timestamp: bool = False
    """Whether rows without a timestamp are rejected."""
    unescape_html: bool = False
    """Whether HTML entities and `<br />` are replaced by the characters that they represent."""
    limits: ReadLimits = DEFAULT_LIMITS
    word_labels: bool = False
    """Whether the stars field holds a label, such as a word, instead of a number."""
    ratings: RatingRule = DEFAULT_RULE
    """How the stars field becomes stars."""
    skip_null_text: bool = False
    """Whether records without a text are filtered out instead of rejected as errors."""
    null_values: tuple[str, ...] = ()
    """Values of the text fields that mean "no text"."""

    @classmethod
    def from_config(cls, config: Config, scheme: LabelScheme | None) -> Recipe:
        """Recipe from the settings; without a scheme, rows only need a text."""
        return cls(
            text_separator=config.input.text_separator,
            max_length=config.tokenize.max_length,
            verified_only=config.input.verified_only,
            scheme=scheme,
            needs_timestamp=scheme is not None and config.split.by == "time",
            unescape_html=config.input.unescape_html,
            limits=ReadLimits.of(config.input),
            word_labels=scheme is not None and scheme.is_words,
            ratings=rating_rule(config.labels),
            skip_null_text=config.input.null_text == "skip",
            null_values=config.input.null_values or (),
        )

    def parse_options(self) -> ParseOptions:
        """The settings of parsing."""
        return ParseOptions(
            self.text_separator, self.limits, self.word_labels, self.ratings, self.null_values
        )


def rating_rule(labels: LabelsConfig) -> RatingRule:
    """How ratings become stars according to the settings."""
    return RatingRule(labels.rating_scale(), labels.unrated or ())


@dataclass(frozen=True)
class Kept:
    """Rows and rejected lines of a chunk; every line is in exactly one of the two."""

    rows: pa.Table
    """Schema columns.ROW_SCHEMA with clean, non-empty text, and an int32 column `label` if the recipe has a
    scheme."""
    rejected: list[RejectedLine]


def keep_lines(chunk: Chunk, fmt: Format, recipe: Recipe) -> Kept:
    """Clean rows of a chunk, and its lines that cannot be used or that the recipe filters out."""
    options = recipe.parse_options()
    rows, rejected = parse_chunk(chunk, fmt, options)
    texts = clean(rows["text"], unescape_html=recipe.unescape_html)
    rows = rows.set_column(rows.schema.get_field_index("text"), "text", texts)
    row_filter = _RowFilter(rows, RecordLocator(chunk, fmt, options), rejected, options.ratings)
    row_filter.require_text(fmt, skip=recipe.skip_null_text)
    scheme = recipe.scheme
    if scheme is not None and scheme.is_words:
        row_filter.require_known_words(fmt, scheme)
    elif scheme is not None:
        row_filter.require_stars(fmt)
    if recipe.needs_timestamp:
        missing = _mask(pc.is_null(rows["timestamp"]))
        row_filter.reject(Reason.MISSING_TIMESTAMP, missing, lambda _: f"no {fmt.timestamp or 'time'}")
    if recipe.verified_only:
        unverified = _mask(pc.invert(rows["verified"]))
        row_filter.reject(Reason.FILTERED_UNVERIFIED, unverified, lambda _: f"{fmt.verified} is false")
    if scheme is not None:
        rows = rows.append_column("label", pa.array(row_filter.encode_labels(scheme), pa.int32()))
    kept = row_filter.kept
    return Kept(rows if kept.all() else rows.filter(pa.array(kept)), row_filter.rejected)


class _RowFilter:
    """Mask of the N rows of a chunk that are still kept; a rejected row has the first reason that applies."""

    def __init__(
        self, rows: pa.Table, locator: RecordLocator, rejected: list[RejectedLine], ratings: RatingRule
    ) -> None:
        self.rows, self.locator, self.rejected, self.ratings = rows, locator, rejected, ratings
        self.kept = np.ones(rows.num_rows, np.bool_)

    def reject(self, reason: Reason, mask: BoolArray, detail: Callable[[int], str]) -> None:
        """Reject rows for a reason.

        Args:
            mask: (N,) bool; rows that are already rejected keep their reason.
            detail: from the index of a row to the detail of its reject.
        """
        for i in np.flatnonzero(mask & self.kept):
            line = self.rows["line"][int(i)].as_py()
            offset, raw = self.locator.locate(line)
            self.rejected.append(RejectedLine(line, offset, reason, detail(int(i)), raw))
        self.kept[mask] = False

    def require_text(self, fmt: Format, *, skip: bool) -> None:
        """Reject rows without text.

        Args:
            skip: whether they are filtered out on purpose.
        """
        texts = self.rows["text"]
        fields = ", ".join(fmt.text)
        missing, empty = (Reason.NO_TEXT,) * 2 if skip else (Reason.MISSING_TEXT, Reason.EMPTY_TEXT)
        self.reject(missing, _mask(pc.is_null(texts)), lambda _: f"none of {fields}")
        self.reject(empty, _mask(pc.equal(texts, "")), lambda _: "only white space")

    def require_stars(self, fmt: Format) -> None:
        """Reject rows without a rating, or with a rating outside the scale."""
        stars, words, ratings = self._star_values(), self.rows["word"], self.ratings
        scale = f"{plain(ratings.scale.low)} to {plain(ratings.scale.high)}"

        def detail(i: int) -> str:
            word = words[i].as_py() or ""
            value = (word if _is_number(word) else repr(word))[:_MAX_SHOWN_CHARS]
            remedy = advice(word, ratings)
            return f"{fmt.stars} is {value}, not {scale}" + (f"; {remedy}" if remedy else "")

        self.reject(Reason.MISSING_STARS, _mask(pc.is_null(self.rows["stars"])), lambda _: f"no {fmt.stars}")
        if ratings.unrated:
            unrated = np.array([ratings.is_unrated(word) for word in words.to_pylist()], np.bool_)
            self.reject(Reason.NOT_RATED, unrated, lambda i: f"{fmt.stars} is {words[i].as_py()}")
        self.reject(Reason.STARS_OUT_OF_RANGE, ~is_valid_stars(stars), detail)

    def require_known_words(self, fmt: Format, scheme: LabelScheme) -> None:
        """Reject rows without a label, or with a label that is not a class of the scheme."""
        words = self.rows["word"]
        names = ", ".join(scheme.labels)

        def detail(i: int) -> str:
            return f"{fmt.stars} is {words[i].as_py()!r}, not {names}"[:_MAX_DETAIL_CHARS]

        self.reject(Reason.MISSING_LABEL, _mask(pc.is_null(words)), lambda _: f"no {fmt.stars}")
        self.reject(Reason.UNKNOWN_LABEL, scheme.encode_words(words) == UNLABELED, detail)

    def encode_labels(self, scheme: LabelScheme) -> Int32Array:
        """(N,) classes; rejects rows whose rating the scheme drops."""
        if scheme.is_words:
            return scheme.encode_words(self.rows["word"])
        stars = self._star_values()
        labels = scheme.encode(stars)

        def detail(i: int) -> str:
            return f"{stars[i]:g} stars have no class in {scheme.name}"

        self.reject(Reason.NEUTRAL_DROPPED, labels == UNLABELED, detail)
        return labels

    def _star_values(self) -> FloatArray:
        return np.asarray(self.rows["stars"].to_numpy(zero_copy_only=False), np.float32)


def _mask(array: pa.ChunkedArray) -> BoolArray:
    """(N,) bool; null counts as false."""
    return np.asarray(pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False), np.bool_)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
