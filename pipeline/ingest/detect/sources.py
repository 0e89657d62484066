"""Input files of a job: their formats, and the chunk size to cut them with."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import InputError, MissingColumnError, ScaleError, UnknownFormatError
from pipeline.ingest.detect.columns import NAMED, Columns
from pipeline.ingest.detect.detect import Detection, Needs, detect_file
from pipeline.ingest.detect.identify import empty_reason
from pipeline.ingest.detect.scales import check_same_scale
from pipeline.ingest.parse.formats import ENCODED, FORMATS, Format
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
    columns: Columns | None = None
    """None for a file without text, and for the output of `prepare`."""
    notes: tuple[str, ...] = ()
    """Facts about its syntax, one clause each."""
    warnings: tuple[str, ...] = ()
    """What may be wrong about it, one sentence each, without its name."""

    @property
    def format_name(self) -> str:
        """Format for messages and manifests, such as `amazon_2018, JSON lines`."""
        if isinstance(self.fmt, str):
            return self.fmt
        return ", ".join([self.fmt.name, str(self.fmt.dialect), *self.notes])


class Found(NamedTuple):
    """Input files that are read, and those that are left out."""

    sources: list[Source]
    skipped: list[str]
    """One sentence for each file that `input.skip_unknown` leaves out."""


def find_sources(
    files: Iterable[Location],
    config: InputConfig,
    *,
    need_stars: bool = True,
    need_time: bool = False,
    labels: LabelsConfig | None = None,
    model: InputConfig | None = None,
) -> Found:
    """Sources of the input files, each with its detected format; see detect.detect_file.

    If at least one file has the configured columns, the others may be in a known format without them.

    Raises:
        InputError: a file has an unknown format or lacks a configured column, files have different rating
            scales, or no file has any text.
    """
    needs = Needs(need_stars, need_time, labels or LabelsConfig())
    files = list(files)
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        detections = list(pool.map(partial(_detect, config=config, needs=needs, model=model), files))
    unknown = [d.unknown for d in detections if d.unknown]
    if unknown and (not config.skip_unknown or len(unknown) == len(files)):
        raise _with_hint(unknown[0], len(files))
    missing = next((d.missing for d in detections if d.missing), None)
    if missing and not any((d.found or d.scale_error) and not d.missing for d in detections):
        raise missing
    _check_scales(files, detections, needs.labels)
    kept = [(f, d.found) for f, d in zip(files, detections, strict=True) if not d.unknown]
    if not any(found for _, found in kept):
        raise InputError(f"{kept[0][0].uri}: {empty_reason(kept[0][0])}; nothing to read")
    sources = [_source(number, file, found) for number, (file, found) in enumerate(kept)]
    _check_same_stars(sources)
    return Found(_with_missing_stars(sources), [f"left out: {error}" for error in unknown])


def detect_sources(
    files: Iterable[Location],
    config: InputConfig,
    *,
    need_stars: bool = True,
    need_time: bool = False,
    labels: LabelsConfig | None = None,
) -> list[Source]:
    """The files of `find_sources` that are read."""
    return find_sources(files, config, need_stars=need_stars, need_time=need_time, labels=labels).sources


def _source(number: int, file: Location, found: Detection | None) -> Source:
    size = file.info().size
    if found is None:
        # An empty shard among others is not an error; any format reads it.
        return Source(number, file.uri, size, FORMATS[0])
    return Source(number, file.uri, size, found.fmt, found.columns, found.notes, found.warnings)


def _with_hint(error: UnknownFormatError, files: int) -> UnknownFormatError:
    if files == 1:
        return error
    return type(error)(f"{error}; or use --skip-unknown to leave out files that are not reviews")


def _with_missing_stars(sources: list[Source]) -> list[Source]:
    """The sources, with a warning for each that has no stars although others have."""
    if not any(s.columns and s.columns.stars for s in sources):
        return sources
    warning = "no stars, unlike other files of the input"
    return [
        replace(s, warnings=(*s.warnings, warning)) if s.columns and not s.columns.stars else s
        for s in sources
    ]


def _check_same_stars(sources: list[Source]) -> None:
    """Raise InputError if the stars of two files with the same columns would come from different ones."""
    known = [(s.uri, s.columns) for s in sources if s.columns is not None and s.columns.stars]
    # Few choices occur; thousands of shards usually agree.
    by_choice = {columns.stars: (uri, columns) for uri, columns in reversed(known)}
    for uri, columns in known:
        for stars, (other, others) in by_choice.items():
            if stars != columns.stars and columns.has(stars) and others.has(columns.stars):
                raise InputError(
                    f"{uri}: the values suggest that the stars are in {columns.stars}, but in {other} that"
                    f" they are in {stars}; name the column with input.stars"
                )


def _check_scales(files: list[Location], detections: list[_Detection], labels: LabelsConfig) -> None:
    """Raise InputError if a file has another scale than another file, or than the settings say."""
    scales = [
        d.scale_error.scale if d.scale_error else d.found.fmt.scale if d.found else None for d in detections
    ]
    check_same_scale(zip((f.uri for f in files), scales, strict=True), labels)
    for detection in detections:
        if detection.scale_error:
            raise detection.scale_error


class _Detection(NamedTuple):
    found: Detection | None = None
    """None: the file has no text, or another field is set."""
    missing: MissingColumnError | None = None
    """Set if the file is in a known format but lacks a configured column."""
    unknown: UnknownFormatError | None = None
    scale_error: ScaleError | None = None
    """Set if the ratings are on another scale than the settings say."""


def _detect(file: Location, config: InputConfig, needs: Needs, model: InputConfig | None) -> _Detection:
    try:
        return _Detection(detect_file(file, config, needs, model))
    except MissingColumnError as error:
        try:
            unnamed = config.model_copy(update=dict.fromkeys(NAMED))
            return _Detection(detect_file(file, unnamed, needs), missing=error)
        except ScaleError as scale_error:
            return _Detection(missing=error, scale_error=scale_error)
        except InputError:
            return _Detection(unknown=error)
    except UnknownFormatError as error:
        return _Detection(unknown=error)
    except ScaleError as scale_error:
        return _Detection(scale_error=scale_error)


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
