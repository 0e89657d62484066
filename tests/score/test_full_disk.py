"""A scoring job on a disk that is full for a while, or permanently."""

from __future__ import annotations

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


def full_disk(plain: Any, job: Any, *, for_good: bool) -> ChunkWork:
    return FullDiskWork(**plain(job).__dict__, for_good=for_good)


def files_of(folder: Path) -> dict[str, bytes]:
    """The Parquet files of a directory, which do not depend on when they were written."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*.parquet"))}


def test_rows_are_the_same_after_it(
    untrained: str,
    dump: Path,
    cluster: Any,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, expected = stage.chunk_work, files_of(undisturbed)
    assert len(expected) > 3

    def score(output: str) -> None:
        stage.score(plan_small(dump, untrained, tmp_path / output), cluster, Reporter())

    monkeypatch.setattr(stage, "chunk_work", partial(full_disk, plain, for_good=False))
    score("while")
    assert files_of(tmp_path / "while") == expected

    monkeypatch.setattr(stage, "chunk_work", partial(full_disk, plain, for_good=True))
    said = r"part-\d+-\d+\.parquet: cannot be written: No space left on device"
    with pytest.raises(OutputError, match=said) as failed:
        score("good")
    # As a job does: otherwise its actors stay alive and keep their CPUs.
    clear_frames(failed.value)
    # One part was written, and nothing of any other.
    assert len(list((tmp_path / "good").glob("part-*"))) == 1
    assert not list((tmp_path / "good").rglob("*tmp*"))

    monkeypatch.setattr(stage, "chunk_work", plain)
    score("good")
    assert files_of(tmp_path / "good") == expected
    assert verify(locate(tmp_path / "good")).faults == {}
