"""Keys of a split by user or by product, and the columns that contain them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.parse.formats import CARRIED_FIELDS, Format, ParseOptions
from pipeline.ingest.parse.parse import parse_chunk
from pipeline.ingest.stream import SMALL_CHUNK_BYTES, ReadPlan, read_source
from pipeline.storage.location import CONCURRENT_FILES

KEY_COLUMNS = {"user": "user_id", "product": "asin"}
"""`split.by` → the column of columns.ROW_SCHEMA that contains the key."""

_CHUNKS = 16
"""Number of chunks that are searched for a readable line."""


def keys_of(rows: pa.Table, by: str) -> pa.Array:
    """(N,) string: the key of each row; null if it is missing or only white space."""
    keys = rows[KEY_COLUMNS[by]].combine_chunks()
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(keys), ""), None, keys)


def only_used(fmt: Format, config: Config) -> Format:
    """The format without the fields that prepare does not use, so that they are not parsed."""
    used = {KEY_COLUMNS.get(config.split.by), "timestamp", "verified" if config.input.verified_only else None}
    return replace(fmt, **dict.fromkeys(set(CARRIED_FIELDS) - used))  # type: ignore[arg-type]


def with_keys(sources: list[Source], config: Config, options: ParseOptions) -> list[Source]:
    """The sources, with formats that read the key of a split by user or by product.

    If a dump distinguishes products from their variants, the key is the product, unless the settings name
    the column of the variant.

    Raises:
        InputError: the split is by user or product, and no file has one.
    """
    by = config.split.by
    if by not in KEY_COLUMNS:
        return sources
    if by == "product" and any(isinstance(s.fmt, Format) and s.fmt.product for s in sources):
        with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
            look = partial(_by_product, named=config.input.asin, options=options)
            sources = list(pool.map(look, sources))
    without_key = None
    for source in sources:
        found = _has_keys(source, by, options)
        if found:
            return sources
        without_key = without_key or (source if found is False else None)
    if without_key is None:
        return sources
    column = KEY_COLUMNS[by]
    raise InputError(
        f"{without_key.uri}: split.by={by}, but no line at the start of this or another file has a {by};"
        f" name the column with --set input.{column}=…, or use --set split.by=text"
    )


def _by_product(source: Source, named: str | None, options: ParseOptions) -> Source:
    fmt = source.fmt
    if not isinstance(fmt, Format) or fmt.product is None or fmt.asin == named:
        return source
    if fmt.product in fmt.fields():
        return source
    by_product = replace(source, fmt=replace(fmt, asin=fmt.product, product=None))
    return by_product if _has_keys(by_product, "product", options) else source


def _has_keys(source: Source, by: str, options: ParseOptions) -> bool | None:
    """Whether any of the first lines has a key; None if no line can be read."""
    for rows in _first_rows(source, options):
        if rows.num_rows:
            return bool(keys_of(rows, by).null_count < rows.num_rows)
    return None


def _first_rows(source: Source, options: ParseOptions) -> Iterator[pa.Table]:
    assert isinstance(source.fmt, Format)
    plan = ReadPlan(SMALL_CHUNK_BYTES, limits=options.limits)
    for _, chunk in zip(range(_CHUNKS), read_source(source, plan), strict=False):
        yield parse_chunk(chunk, source.fmt, options)[0]
