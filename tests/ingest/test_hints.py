"""Advice at the end of a job that rejects too many records for one reason."""

from __future__ import annotations

import re

import pytest

from pipeline.config import InputConfig, LabelsConfig
from pipeline.errors import ErrorBudgetError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.entry import Entry
from pipeline.ingest.hints import hint
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.parse.rejects import Reason
from pipeline.ingest.read.chunks import ChunkHeader


def example(value: str) -> str:
    return f"/in/a.csv, line 3: rating is {value}, not 1 to 5; if: {value},fine"


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("7", "labels.scale=LOW-HIGH, for example 1-10"),
        ("87", "labels.scale=LOW-HIGH, for example 0-100"),
        ("-1", "labels.scale=LOW-HIGH, for example 0-4"),
        ("0", "labels.unrated=0"),
        ("'8/10'", "labels.scale=1-10"),
        ("4.37", "input.stars"),
        ("'good, is it'", "labels.scheme=words"),
    ],
)
def test_the_hint_for_a_rating_depends_on_its_value(value: str, setting: str) -> None:
    assert setting in (hint("stars_out_of_range", example(value)) or "")


def test_hints_name_a_setting() -> None:
    for reason in Reason:
        text = hint(reason.value, "")
        assert text is None or re.search(r"(input|labels)\.\w+", text)
    named = {r.value for r in Reason if hint(r.value, "")}
    assert named >= {"stars_out_of_range", "missing_text", "missing_stars", "bad_encoding", "bad_csv"}
    assert hint("bad_json", "") is hint("later", "") is None


@pytest.mark.parametrize(("others", "shown"), [(2, True), (3, False)])
def test_the_message_of_a_job_has_a_hint_if_most_errors_have_one_reason(others: int, shown: bool) -> None:
    rejected = {"missing_text": 3, "bad_json": others, "duplicate": 50}
    ledger = Ledger([Source(0, "/in/a", 9, "f")], 0.01)
    header = ChunkHeader(0, "/in/a", 0, 1, 100, last=True, broken=None, bytes_read=9)
    ledger.add(Entry(header, 100 - sum(rejected.values()), rejected, {}, [], {}))
    with pytest.raises(ErrorBudgetError) as raised:
        ledger.close()
    assert ("input.null_text=skip" in str(raised.value)) is shown


def test_settings_of_the_hints_exist() -> None:
    assert {"text", "stars", "null_text", "quoted", "max_line_bytes"} <= InputConfig.model_fields.keys()
    assert {"scale", "unrated", "scheme", "words"} <= LabelsConfig.model_fields.keys()
