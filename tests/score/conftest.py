"""What the tests of scoring share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.score.written import write_scores


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A scores directory; see written.py."""
    folder = tmp_path / "scores"
    folder.mkdir()
    write_scores(folder)
    return folder
