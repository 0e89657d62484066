"""A scoring job on a disk that is full for a while, or permanently."""

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
    """The Parquet files of a directory, which do not depend on when they were written."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*.parquet"))}


def test_rows_are_the_same_after_it(
    untrained: str, dump: Path, cluster: Any, undisturbed: Path, tmp_path: Path
) -> None:
    expected = files_of(undisturbed)
    assert len(expected) > 3

    def score(output: str, work_class: Callable[..., ChunkWork]) -> None:
        job = plan_small(dump, untrained, tmp_path / output, work_class=work_class)
        stage.score(job, cluster, Reporter())

    score("while", FullDiskWork)
    assert files_of(tmp_path / "while") == expected

    said = r"part-\d+-\d+\.parquet: cannot be written: No space left on device"
    with pytest.raises(OutputError, match=said) as failed:
        score("good", partial(FullDiskWork, for_good=True))
    # As a job does: otherwise its actors stay alive and keep their CPUs.
    clear_frames(failed.value)
    # One part was written, and nothing of any other.
    assert len(list((tmp_path / "good").glob("part-*"))) == 1
    assert not list((tmp_path / "good").rglob("*tmp*"))

    score("good", ChunkWork)
    assert files_of(tmp_path / "good") == expected
    assert verify(locate(tmp_path / "good")).faults == {}
