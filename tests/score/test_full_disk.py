"""A scoring job on a disk that is full for a while, or for good."""

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
from pipeline.settings import load_config
from pipeline.storage.location import locate
from tests.score.deadly import FullDiskWork

pytestmark = pytest.mark.ray

SETS = ["input.chunk_bytes=65536", "score.precision=float32", "score.num_actors=1"]


def full_disk(plain: Any, job: Any, *, for_good: bool) -> ChunkWork:
    return FullDiskWork(**plain(job).__dict__, for_good=for_good)


def files_of(folder: Path) -> dict[str, bytes]:
    """All that is there, but for what tells when it was written."""
    return {
        str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*.parquet")) if f.is_file()
    }


def test_rows_are_the_same_after_it(
    untrained: str, dump: Path, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stage.chunk_work

    def score(output: str) -> Any:
        plan = stage.plan([str(dump)], untrained, str(tmp_path / output), load_config(None, SETS))
        return stage.score(plan, cluster, Reporter())

    score("plain")
    expected = files_of(tmp_path / "plain")
    assert len(expected) > 3

    monkeypatch.setattr(stage, "chunk_work", partial(full_disk, plain, for_good=False))
    score("while")
    assert files_of(tmp_path / "while") == expected

    monkeypatch.setattr(stage, "chunk_work", partial(full_disk, plain, for_good=True))
    said = r"part-\d+-\d+\.parquet: cannot be written: No space left on device"
    with pytest.raises(OutputError, match=said) as failed:
        score("good")
    # As a job does: else its actors live, and keep their CPUs from the next one's.
    clear_frames(failed.value)
    # One part is there, and nothing of any other.
    assert len(list((tmp_path / "good").glob("part-*"))) == 1
    assert not list((tmp_path / "good").rglob("*tmp*"))

    monkeypatch.setattr(stage, "chunk_work", plain)
    score("good")
    assert files_of(tmp_path / "good") == expected
    assert verify(locate(tmp_path / "good")).faults == {}
