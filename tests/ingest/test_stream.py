"""A chunk that crashes the workers that read it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.stream import ReadPlan, read_group
from pipeline.storage.location import locate
from tests.crashes import guard_reporting


def test_chunk_that_crashes_readers_fails_the_job_and_is_named(tmp_path: Path) -> None:
    asked = []

    def crashes(step: str, file: int, chunk: int) -> int:
        asked.append((step, file, chunk))
        return 3 if chunk == 2 else 2

    line = b'{"overall": 5.0, "reviewText": "good", "asin": "1", "reviewerID": "2", "unixReviewTime": 1}\n'
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(line * 1000))
    sources = detect_sources([locate(tmp_path / "a.json.gz")], InputConfig(), need_stars=False)
    whole = len(list(read_group(sources, ReadPlan(8192))))
    assert whole > 5
    chunks = read_group(sources, ReadPlan(8192, guard=guard_reporting(crashes)))
    assert len([next(chunks), next(chunks)]) == 2
    said = rf"^{tmp_path}/a\.json\.gz: chunk 2: 3 workers crashed while trying to read this chunk$"
    with pytest.raises(InputError, match=said):
        next(chunks)
    assert asked == [("read", 0, 0), ("read", 0, 1), ("read", 0, 2)]
