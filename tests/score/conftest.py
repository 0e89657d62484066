"""Fixtures for the scoring tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.model.card import ModelCard, read_card
from pipeline.progress import Reporter
from pipeline.score.stage import score
from pipeline.storage.location import locate
from tests.score.small_job import plan_small
from tests.score.written import write_scores


@pytest.fixture(scope="session")
def undisturbed(dump: Path, untrained: str, cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of the small job without failures; read-only."""
    folder = tmp_path_factory.mktemp("undisturbed") / "scores"
    score(plan_small(dump, untrained, folder), cluster, Reporter())
    return folder


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A scores directory written without a model; see written.py."""
    folder = tmp_path / "scores"
    folder.mkdir()
    write_scores(folder)
    return folder


@pytest.fixture
def model(untrained: str) -> tuple[str, ModelCard]:
    """Directory of an untrained classifier, and its model card."""
    return untrained, read_card(locate(untrained))
