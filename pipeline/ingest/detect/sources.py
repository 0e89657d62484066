"""The input files of a job: what each is, and how large the chunks are that they are cut into."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError, MissingColumnError
from pipeline.ingest.detect.detect import detect_format, why_empty
from pipeline.ingest.parse.formats import CARRIED_FIELDS, ENCODED, FORMATS, Format
from pipeline.storage.location import CONCURRENT_FILES, Location, locate


@dataclass(frozen=True)
class Source:
    """One input file, as the readers need it."""

    number: int
    uri: str
    size_bytes: int
    fmt: Format | str
    """How its lines are read, or ENCODED for rows that are encoded already."""

    @property
    def format_name(self) -> str:
        """Its format, for people: `amazon_2018, JSON lines`."""
        return self.fmt if isinstance(self.fmt, str) else f"{self.fmt.name}, {self.fmt.dialect}"


def find_sources(
    files: Iterable[Location],
    config: InputConfig,
    *,
    need_stars: bool = True,
    labels: LabelsConfig | None = None,
) -> list[Source]:
    """Look into each input file; see detect.detect_format.

    Where some files have the columns that the settings name, others may be in a known format.

    Raises:
        InputError: a file in no known format, a configured column that is not there, or nothing to read.
    """
    look = partial(_look, config=config, need_stars=need_stars, labels=labels)
    files = list(files)
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        found = list(pool.map(look, files))
    lacking = next((f.lacks for f in found if f.lacks), None)
    if lacking and not any(f.fmt and not f.lacks for f in found):
        raise lacking
    if not any(f.fmt for f in found):
        raise InputError(f"{files[0].uri}: {why_empty(files[0])}; there is nothing to read")
    # An empty shard among others is no mistake; any format reads it.
    return [
        Source(n, file.uri, file.info().size, f.fmt or FORMATS[0])
        for n, (file, f) in enumerate(zip(files, found, strict=True))
    ]


class _Found(NamedTuple):
    fmt: Format | None
    lacks: MissingColumnError | None
    """Where a column is missing that the settings name, and the file is in a known format without it."""


def _look(file: Location, config: InputConfig, need_stars: bool, labels: LabelsConfig | None) -> _Found:
    try:
        return _Found(detect_format(file, config, need_stars=need_stars, labels=labels), None)
    except MissingColumnError as error:
        unnamed = config.model_copy(update=dict.fromkeys(("text", "stars", *CARRIED_FIELDS)))
        try:
            return _Found(detect_format(file, unnamed, need_stars=need_stars, labels=labels), error)
        except InputError:
            raise error from None


def encoded_sources(files: Iterable[Location]) -> list[Source]:
    """Sources for parts of data/{train,val,test}."""
    return [Source(n, f.uri, f.info().size, ENCODED) for n, f in enumerate(files)]


def choose_chunk_bytes(sources: Iterable[Source], *, largest: int, consumers: int) -> int:
    """Text in a chunk, so that every consumer gets several, and none takes too long.

    Args:
        largest: the most a chunk should hold; less where a consumer is slow.
        consumers: encoders or scorers that run at once.
    Returns:
        Bytes, at least 64 KiB, in whole KiB. Stored sizes of compressed files count three times.
    """
    packed = (".gz", ".bz2", ".zst")
    expected = sum(s.size_bytes * (3 if locate(s.uri).name.endswith(packed) else 1) for s in sources)
    fitting = expected // (4 * consumers)
    return max(64 << 10, min(largest, fitting)) >> 10 << 10
