"""One chunk in, its rows and its rejected lines out: parse, filter, clean, label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config
from pipeline.ingest.clean.labels import UNLABELLED, LabelScheme, valid_stars
from pipeline.ingest.clean.text import clean
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.parse import RecordLocator, parse_chunk
from pipeline.ingest.parse.rejects import RejectedLine
from pipeline.ingest.read.chunks import MAX_LINE_BYTES, Chunk

_SHOWN = 100
"""So many characters of a value are put into the detail of a reject."""

CARRIED = ("asin", "user_id", "timestamp", "verified", "stars")
"""Columns that go from a dump into its scores unchanged."""

TRUE_LABEL = "true_label"
"""Column of the scores with what the dump itself says, where labels are words and not stars."""


@dataclass(frozen=True)
class Recipe:
    """What is done to a line before it is encoded; the same for training and scoring."""

    text_separator: str
    max_length: int
    verified_only: bool
    scheme: LabelScheme | None
    """None: lines need no stars and get no label."""
    needs_timestamp: bool = False
    """Whether a line without a time is of no use."""
    unescape_html: bool = False
    """Whether `&amp;` and `<br />` are written out."""
    max_line_bytes: int = MAX_LINE_BYTES
    word_labels: bool = False
    """Whether what stands in the field of the stars is a word."""

    @classmethod
    def of(cls, config: Config, scheme: LabelScheme | None) -> Recipe:
        """As the settings say; without a scheme nothing is asked of a line but its text."""
        return cls(
            text_separator=config.input.text_separator,
            max_length=config.tokenize.max_length,
            verified_only=config.input.verified_only,
            scheme=scheme,
            needs_timestamp=scheme is not None and config.split.by == "time",
            unescape_html=config.input.unescape_html,
            max_line_bytes=config.input.max_line_bytes,
            word_labels=scheme is not None and scheme.is_words,
        )

    def parse_options(self) -> ParseOptions:
        """What parsing needs to know."""
        return ParseOptions(self.text_separator, self.max_line_bytes, self.word_labels)


@dataclass(frozen=True)
class Kept:
    """What became of a chunk: each of its lines is a row or is rejected."""

    rows: pa.Table
    """Of columns.ROW_SCHEMA, with clean text that is not empty, and a `label` column (int32) where the
    recipe has a scheme."""
    rejected: list[RejectedLine]


def keep_lines(chunk: Chunk, fmt: Format, recipe: Recipe) -> Kept:
    """Parse a chunk and take out the lines that cannot or shall not be used."""
    options = recipe.parse_options()
    rows, rejected = parse_chunk(chunk, fmt, options)
    texts = clean(rows["text"], unescape_html=recipe.unescape_html)
    rows = rows.set_column(rows.schema.get_field_index("text"), "text", texts)
    drops = _Drops(rows, RecordLocator(chunk, fmt, options), rejected)
    drops.text(fmt)
    scheme = recipe.scheme
    if scheme is not None and scheme.is_words:
        drops.words(fmt, scheme)
    elif scheme is not None:
        drops.stars(fmt)
    if recipe.needs_timestamp:
        drops(
            "missing_timestamp",
            _mask(pc.is_null(rows["timestamp"])),
            lambda _: f"no {fmt.timestamp or 'time'}",
        )
    if recipe.verified_only:
        unverified = _mask(pc.invert(rows["verified"]))
        drops("filtered_unverified", unverified, lambda _: f"{fmt.verified} is false")
    if scheme is not None:
        rows = rows.append_column("label", pa.array(drops.labels(scheme), pa.int32()))
    kept = drops.kept
    return Kept(rows if kept.all() else rows.filter(pa.array(kept)), drops.rejected)


class _Drops:
    """Which rows of a chunk are still kept; a row that several things are wrong with has the first reason."""

    def __init__(self, rows: pa.Table, locator: RecordLocator, rejected: list[RejectedLine]) -> None:
        self.rows, self.locator, self.rejected = rows, locator, rejected
        self.kept = np.ones(rows.num_rows, np.bool_)

    def __call__(self, reason: str, which: npt.NDArray[np.bool_], detail: Callable[[int], str]) -> None:
        """Drop rows for a reason.

        Args:
            which: (N,) bool; those that are dropped already keep the reason that they have.
            detail: what is said of the row with this index.
        """
        for i in np.flatnonzero(which & self.kept):
            line = self.rows["line"][int(i)].as_py()
            offset, raw = self.locator.locate(line)
            self.rejected.append(RejectedLine(line, offset, reason, detail(int(i)), raw))
        self.kept[which] = False

    def text(self, fmt: Format) -> None:
        """Drop rows without text."""
        texts = self.rows["text"]
        self("missing_text", _mask(pc.is_null(texts)), lambda _: f"none of {', '.join(fmt.text)}")
        self("empty_text", _mask(pc.equal(texts, "")), lambda _: "nothing but white space")

    def stars(self, fmt: Format) -> None:
        """Drop rows with no stars, or others than 1 to 5."""
        stars, words = self._star_values(), self.rows["word"]

        def written(i: int) -> str:
            return repr(words[i].as_py()) if np.isnan(stars[i]) else str(stars[i]).removesuffix(".0")

        self("missing_stars", _mask(pc.is_null(self.rows["stars"])), lambda _: f"no {fmt.stars}")
        self(
            "stars_out_of_range",
            ~valid_stars(stars),
            lambda i: f"{fmt.stars} is {written(i)[:_SHOWN]}, not 1 to 5",
        )

    def words(self, fmt: Format, scheme: LabelScheme) -> None:
        """Drop rows with no label, or one that the scheme does not name."""
        words = self.rows["word"]
        self("missing_label", _mask(pc.is_null(words)), lambda _: f"no {fmt.stars}")
        known = scheme.encode_words(words) != UNLABELLED
        names = ", ".join(scheme.labels)
        self("unknown_label", ~known, lambda i: f"{fmt.stars} is {words[i].as_py()!r}, not {names}"[:200])

    def labels(self, scheme: LabelScheme) -> npt.NDArray[np.int32]:
        """(N,) classes; rows whose stars have none in the scheme are dropped."""
        if scheme.is_words:
            return scheme.encode_words(self.rows["word"])
        stars = self._star_values()
        labels = scheme.encode(stars)
        self(
            "neutral_dropped",
            labels == UNLABELLED,
            lambda i: f"{stars[i]:g} stars have no class in {scheme.name}",
        )
        return labels

    def _star_values(self) -> npt.NDArray[np.float32]:
        return np.asarray(self.rows["stars"].to_numpy(zero_copy_only=False), np.float32)


def _mask(array: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """(N,) bool; null counts as false."""
    return np.asarray(pc.fill_null(array, fill_value=False).to_numpy(zero_copy_only=False), np.bool_)
