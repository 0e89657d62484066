"""End of the test set of a split by head, found before the first pass."""

from __future__ import annotations

from dataclasses import replace

from pipeline.config import SplitConfig
from pipeline.errors import InputError
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.prepare.split import Boundary

_CHUNK_BYTES = 1 << 20


def find_boundary(
    sources: list[Source], recipe: Recipe, plan: ReadPlan, config: SplitConfig
) -> Boundary | None:
    """Position of the last of the first `split.head_rows` kept rows; None unless `split.by` is head.

    Raises:
        InputError: the input has `split.head_rows` rows or fewer.
    """
    if config.by != "head":
        return None
    left, lines = config.head_rows, plan.max_rows
    for source in sources:
        assert isinstance(source.fmt, Format)
        for chunk in read_source(source, replace(plan, chunk_bytes=_CHUNK_BYTES), lines):
            rows = keep_lines(chunk, source.fmt, recipe).rows
            # At least one more row must follow; otherwise nothing is left for training.
            if rows.num_rows > left:
                return Boundary(
                    source.number, rows["line"][left - 1].as_py() if left else chunk.header.first_line - 1
                )
            left -= rows.num_rows
            lines = None if lines is None else lines - chunk.header.lines
        if lines == 0:
            break
    raise InputError(
        f"split.head_rows={config.head_rows}, but the input has only {config.head_rows - left} usable rows;"
        " lower it, or choose --set split.by=text"
    )
