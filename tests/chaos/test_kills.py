"""A scoring job whose processes are killed at random ends with the rows of one that nobody disturbs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.score.verify import verify
from pipeline.storage import locate
from tests.chaos.kills import rows_of, run_to_the_end

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

SEEDS = 25


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_job_that_is_killed_over_and_over_ends_with_the_same_rows(
    chaos_dump: Path, untrained: str, undisturbed: tuple[Path, int], tmp_path: Path, seed: int
) -> None:
    scores, chunks = undisturbed
    found = run_to_the_end(chaos_dump, untrained, tmp_path, seed)
    print(  # noqa: T201  Shown by pytest -s: what was survived.
        f"\nseed {seed}: {found.starts} starts, kills {dict(found.kills)}, {found.begun - chunks} of"
        f" {chunks} chunks again"
    )
    assert rows_of(tmp_path / "scores").equals(rows_of(scores))
    assert verify(locate(tmp_path / "scores")).faults == {}
