"""The dump for the chaos tests, and its scores from an undisturbed job."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.storage.location import locate
from pipeline.synth import write_dump
from tests.chaos.kills import run_to_completion


@pytest.fixture(scope="session")
def chaos_dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6,000 reviews in three files; one line in 100 is broken."""
    folder = tmp_path_factory.mktemp("chaos") / "dump"
    write_dump(locate(folder), rows=6_000, shards=3, seed=11, broken_frac=0.01)
    return folder


@pytest.fixture(scope="session")
def undisturbed(
    chaos_dump: Path, untrained: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    """Scores of a run without kills, and its number of chunks."""
    folder = tmp_path_factory.mktemp("undisturbed")
    found = run_to_completion(chaos_dump, untrained, folder, None)
    assert (found.starts, found.kills.total()) == (1, 0)
    return folder / "scores", found.chunks_started
