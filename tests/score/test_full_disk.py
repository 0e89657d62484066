"""A scoring job on a disk that is full, temporarily or permanently."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobs.failures import clear_frames
from pipeline.errors import OutputError
from pipeline.progress import Reporter
from pipeline.score import stage
from pipeline.score.steps import ChunkWork
from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.score.deadly import FullDiskWork
from tests.score.small_job import plan_small

pytestmark = pytest.mark.ray


def files_of(folder: Path) -> dict[str, bytes]:
    """Contents of the Parquet files of a directory; they do not depend on the time of the run."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*.parquet"))}


def test_job_writes_the_same_files_after_a_full_disk(
    untrained: str, dump: Path, cluster: Any, undisturbed: Path, tmp_path: Path
) -> None:
    expected = files_of(undisturbed)
    assert len(expected) > 3

    def score(output: str, work_class: Callable[..., ChunkWork]) -> None:
        job = plan_small(dump, untrained, tmp_path / output, work_class=work_class)
        stage.score(job, cluster, Reporter())

    score("temporary", FullDiskWork)
    assert files_of(tmp_path / "temporary") == expected

    said = r"part-\d+-\d+\.parquet: cannot be written: No space left on device"
    with pytest.raises(OutputError, match=said) as failed:
        score("permanent", partial(FullDiskWork, permanent=True))
    # As a job does: otherwise the frames keep its actors alive, and those keep their CPUs.
    clear_frames(failed.value)
    # One part was written, and no fragment of another.
    assert len(list((tmp_path / "permanent").glob("part-*"))) == 1
    assert not list((tmp_path / "permanent").rglob("*tmp*"))

    score("permanent", ChunkWork)
    assert files_of(tmp_path / "permanent") == expected
    assert verify(locate(tmp_path / "permanent")).faults == {}
