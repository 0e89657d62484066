"""What the tests of scoring share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.model.card import ModelCard, read_card
from pipeline.storage.location import locate
from tests.score.written import write_scores


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A scores directory; see written.py."""
    folder = tmp_path / "scores"
    folder.mkdir()
    write_scores(folder)
    return folder


@pytest.fixture
def model(untrained: str) -> tuple[str, ModelCard]:
    """A directory with a classifier that was not trained, and its card."""
    return untrained, read_card(locate(untrained))
