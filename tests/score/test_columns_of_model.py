"""Columns and settings that a model brings along when it scores a dump."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.model.card import CARD_FILE
from pipeline.score.job import ScoreJob
from pipeline.score.stage import plan
from pipeline.settings import load_config

RECORDS = [{"review": f"lamp {n} works", "points": n % 5 + 1, "title": f"Order {n}"} for n in range(20)]


@pytest.fixture
def trained(untrained: str, tmp_path: Path) -> Path:
    """A model that was trained with named columns."""
    folder = tmp_path / "model"
    shutil.copytree(untrained, folder)
    card = json.loads((folder / CARD_FILE).read_text())
    card |= {"text": ["review"], "columns": {"stars": "points"}}
    (folder / CARD_FILE).write_text(json.dumps(card))
    return folder


def write(file: Path, records: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def job_of(file: Path, model: Path | str, *sets: str) -> ScoreJob:
    return plan([str(file)], str(model), str(file.parent / "out"), load_config(None, sets))


def test_a_dump_with_the_columns_of_the_model_needs_no_settings(trained: Path, tmp_path: Path) -> None:
    (source,) = job_of(write(tmp_path / "a.json", RECORDS), trained).sources
    assert source.columns is not None
    assert (source.columns.text, source.columns.stars) == (("review",), "points")
    assert source.columns.unused == ("title",)


def test_settings_and_known_formats_apply_to_other_dumps(trained: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", RECORDS)
    (source,) = job_of(file, trained, "input.text=title").sources
    assert source.columns is not None
    assert (source.columns.text, source.columns.stars) == (("title",), "points")
    (source,) = job_of(write(tmp_path / "b.json", [{"text": "It works", "stars": 1}]), trained).sources
    assert source.columns is not None
    assert (source.columns.text, source.columns.chosen_by) == (("text",), "yelp")
    with pytest.raises(InputError, match="unknown review format; fields: body"):
        job_of(write(tmp_path / "c.json", [{"body": "It works"}]), trained)


def test_the_run_records_the_columns_of_the_model(trained: Path, untrained: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", RECORDS)
    recorded = job_of(file, trained).run.settings["input"]
    assert isinstance(recorded, dict)
    assert (recorded["text"], recorded["stars"]) == (["review"], "points")
    named = job_of(file, untrained, "input.text=review,input.stars=points").run.settings["input"]
    assert named == recorded
