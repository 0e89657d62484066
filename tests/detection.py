"""Detection of the format of a file, as the tests of ingest use it."""

from __future__ import annotations

from pipeline.config import InputConfig, LabelsConfig
from pipeline.ingest.detect.detect import Needs, detect_file
from pipeline.ingest.parse.formats import Format
from pipeline.storage.location import Location


def detect_format(
    file: Location,
    config: InputConfig,
    *,
    need_stars: bool = True,
    need_time: bool = False,
    labels: LabelsConfig | None = None,
) -> Format | None:
    """Format that `detect_file` finds; None if the file has no text."""
    found = detect_file(file, config, Needs(need_stars, need_time, labels or LabelsConfig()))
    return None if found is None else found.fmt
