"""Input files of a job: their formats, and the chunk size to cut them with."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError, MissingColumnError, ScaleError
from pipeline.ingest.detect.detect import detect_format, empty_reason
from pipeline.ingest.detect.scales import check_same_scale
from pipeline.ingest.parse.formats import CARRIED_FIELDS, ENCODED, FORMATS, Format
from pipeline.storage.location import CONCURRENT_FILES, Location, locate


@dataclass(frozen=True)
class Source:
    """One input file and its format."""

    number: int
    """Position in the job's input, from 0."""
    uri: str
    size_bytes: int
    fmt: Format | str
    """How to read its lines; ENCODED for the output of `prepare`."""

    @property
    def format_name(self) -> str:
        """Format for messages and manifests, such as `amazon_2018, JSON lines`."""
        return self.fmt if isinstance(self.fmt, str) else f"{self.fmt.name}, {self.fmt.dialect}"


def detect_sources(
    files: Iterable[Location],
    config: InputConfig,
    *,
    need_stars: bool = True,
    need_time: bool = False,
    labels: LabelsConfig | None = None,
) -> list[Source]:
    """Sources of the input files, each with its detected format; see detect.detect_format.

    If at least one file has the configured columns, the others may be in a known format without them.

    Raises:
        InputError: a file has an unknown format or lacks a configured column, or no file has any text.
    """
    detect = partial(_detect, config=config, need_stars=need_stars, need_time=need_time, labels=labels)
    files = list(files)
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        detections = list(pool.map(detect, files))
    missing = next((d.missing for d in detections if d.missing), None)
    if missing and not any((d.fmt or d.scale_error) and not d.missing for d in detections):
        raise missing
    _check_scales(files, detections, labels or LabelsConfig())
    if not any(d.fmt for d in detections):
        raise InputError(f"{files[0].uri}: {empty_reason(files[0])}; nothing to read")
    # An empty shard among others is not an error; any format reads it.
    return [
        Source(n, file.uri, file.info().size, d.fmt or FORMATS[0])
        for n, (file, d) in enumerate(zip(files, detections, strict=True))
    ]


class _Detection(NamedTuple):
    fmt: Format | None
    """None: the file has no text."""
    missing: MissingColumnError | None
    """Set if the file is in a known format but lacks a configured column."""
    scale_error: ScaleError | None = None
    """Set if the ratings are on another scale than the settings say."""


def _check_scales(files: list[Location], detections: list[_Detection], labels: LabelsConfig) -> None:
    """Raise InputError if a file has another scale than another file, or than the settings say."""
    scales = [d.scale_error.scale if d.scale_error else d.fmt.scale if d.fmt else None for d in detections]
    check_same_scale(zip((f.uri for f in files), scales, strict=True), labels)
    for detection in detections:
        if detection.scale_error:
            raise detection.scale_error


def _detect(
    file: Location, config: InputConfig, labels: LabelsConfig | None, *, need_stars: bool, need_time: bool
) -> _Detection:
    detect = partial(detect_format, file, need_stars=need_stars, need_time=need_time, labels=labels)
    try:
        return _Detection(detect(config), None)
    except MissingColumnError as error:
        unnamed = config.model_copy(update=dict.fromkeys(("text", "stars", *CARRIED_FIELDS)))
        try:
            return _Detection(detect(unnamed), error)
        except ScaleError as scale_error:
            return _Detection(None, error, scale_error)
        except InputError:
            raise error from None
    except ScaleError as scale_error:
        return _Detection(None, None, scale_error)


def encoded_sources(files: Iterable[Location]) -> list[Source]:
    """Sources for parts of data/{train,val,test}."""
    return [Source(n, f.uri, f.info().size, ENCODED) for n, f in enumerate(files)]


def expected_bytes(sources: Iterable[Source]) -> int:
    """Estimated bytes of text of files; compressed files count three times their size."""
    compressed = (".gz", ".bz2", ".zst")
    return sum(s.size_bytes * (3 if locate(s.uri).name.endswith(compressed) else 1) for s in sources)


def choose_chunk_bytes(sources: Iterable[Source], *, max_bytes: int, consumers: int) -> int:
    """Chunk size with which every consumer gets several chunks.

    Args:
        max_bytes: upper limit; smaller for slower consumers.
        consumers: encoders or scorers that run at the same time.
    Returns:
        Bytes of text per chunk, at least 64 KiB, in whole KiB.
    """
    # Four chunks per consumer.
    fitting = expected_bytes(sources) // (4 * consumers)
    return max(64 << 10, min(max_bytes, fitting)) >> 10 << 10
