"""One chunk in, its rows and its rejected lines out: parse, filter, clean, label, encode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.chunks import Chunk
from pipeline.ingest.formats import Format, parse_lines
from pipeline.ingest.labels import UNLABELLED, LabelScheme, label_scheme, valid_stars
from pipeline.ingest.rejects import RejectedLine
from pipeline.ingest.text import clean

CARRIED = ("asin", "user_id", "timestamp", "verified", "stars")
"""Columns that go from a dump into its scores unchanged."""


@dataclass(frozen=True)
class Recipe:
    """What is done to a line before it is encoded; the same for training and scoring."""

    text_separator: str
    max_length: int
    verified_only: bool
    scheme: str | None
    """Label scheme; None: lines need no stars and get no label."""
    needs_timestamp: bool = False
    """Whether a line without a time is of no use."""

    def labels(self) -> LabelScheme | None:
        """The label scheme itself."""
        return None if self.scheme is None else label_scheme(self.scheme)


def keep_lines(chunk: Chunk, form: Format, recipe: Recipe) -> tuple[pa.Table, list[RejectedLine]]:
    """Parse a chunk and take out the lines that cannot or shall not be used.

    Returns:
        Rows of formats.ROW_SCHEMA with clean text that is not empty, and a `label` column (int32) where
        the recipe has a scheme; and the rejected lines. Each line of the chunk is in one of the two.
    """
    rows, rejected = parse_lines(chunk.raw, chunk.first_line, form, recipe.text_separator)
    rows = rows.set_column(rows.schema.get_field_index("text"), "text", clean(rows["text"]))
    stars = rows["stars"].to_numpy(zero_copy_only=False).astype(np.float32)
    scheme = recipe.labels()
    kept = np.ones(rows.num_rows, np.bool_)
    line_starts = _LineStarts(chunk)

    def drop(reason: str, which: npt.NDArray[np.bool_], detail: Callable[[int], str]) -> None:
        for i in np.flatnonzero(which & kept):
            line = rows["line"][int(i)].as_py()
            offset, raw = line_starts.find(line)
            rejected.append(RejectedLine(line, offset, reason, detail(int(i)), raw))
        kept[which] = False

    drop("missing_text", _mask(pc.is_null(rows["text"])), lambda _: f"none of {', '.join(form.text)}")
    drop("empty_text", _mask(pc.equal(rows["text"], "")), lambda _: "nothing but white space")
    if scheme is not None:
        drop("missing_stars", _mask(pc.is_null(rows["stars"])), lambda _: f"no {form.stars}")
        drop("stars_out_of_range", ~valid_stars(stars), lambda i: f"{form.stars} is {stars[i]:g}, not 1 to 5")
    if recipe.needs_timestamp:
        drop("missing_timestamp", _mask(pc.is_null(rows["timestamp"])), lambda _: f"no {form.timestamp}")
    if recipe.verified_only:
        drop("filtered_unverified", _mask(pc.invert(rows["verified"])), lambda _: f"{form.verified} is false")
    if scheme is not None:
        labels = scheme.encode(stars)
        drop(
            "neutral_dropped",
            labels == UNLABELLED,
            lambda i: f"{stars[i]:g} stars have no class in {scheme.name}",
        )
        rows = rows.append_column("label", pa.array(labels, pa.int32()))
    return (rows if kept.all() else rows.filter(pa.array(kept))), rejected


def line_offsets(chunk: Chunk, lines: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) int64: where some lines of a chunk begin in the decompressed file, by their numbers in it."""
    starts = _LineStarts(chunk).starts[lines - chunk.first_line]
    return np.asarray(chunk.byte_offset + starts, np.int64)


class _LineStarts:
    """Finds a line in a chunk; the line ends are looked for only if a line is asked for."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """(lines + 1,) int64: offset of each line within the chunk, and of what would follow the last."""
        raw = self._chunk.raw
        ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == ord("\n")) + 1
        return np.concatenate([[0], ends, [len(raw) + 1]])

    def find(self, line: int) -> tuple[int, bytes]:
        """Offset within the chunk and content, without the line end, of a line by its number in the file."""
        index = line - self._chunk.first_line
        start, end = int(self.starts[index]), int(self.starts[index + 1])
        return start, self._chunk.raw[start : end - 1]


def _mask(array: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """(N,) bool; null counts as false."""
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), np.bool_)
