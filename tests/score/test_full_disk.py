"""A scoring job on a disk that is full, temporarily or permanently."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import OutputError
from pipeline.progress import Reporter
from pipeline.score import stage
from pipeline.score.steps import ChunkWork
from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.score.deadly import FullDiskWork, TokenPredictor
from tests.score.small_job import plan_small, score_here

pytestmark = pytest.mark.ray


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents of the Parquet files of a directory; they do not depend on the time of the run."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*.parquet"))}


def test_job_writes_the_same_files_after_a_full_disk(
    untrained: str, dump: Path, cluster: Any, tmp_path: Path
) -> None:
    score_here(plan_small(dump, untrained, tmp_path / "undisturbed"), TokenPredictor)
    expected, output = files_of(tmp_path / "undisturbed"), tmp_path / "full"
    assert len(expected) > 3

    def score(work_class: Callable[..., ChunkWork]) -> None:
        job = plan_small(dump, untrained, output, work_class=work_class)
        stage.score(job, cluster, Reporter(), predictor=TokenPredictor)

    said = r"part-\d+-\d+\.parquet: cannot be written: No space left on device"
    with pytest.raises(OutputError, match=said):
        score(partial(FullDiskWork, permanent=True))
    # One part was written, and no fragment of another.
    (part,) = output.glob("part-*")
    assert part.read_bytes() == expected[part.name]
    assert not list(output.rglob("*tmp*"))

    # The disk is full again, but only for a while.
    score(FullDiskWork)
    assert files_of(output) == expected
    assert verify(locate(output)).faults == {}
