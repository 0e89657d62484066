"""The contenders of the `encode` benchmark do the same work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.benchmarks.encode import contenders, synthetic_texts


def test_all_contenders_compute_the_same_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    (texts,) = synthetic_texts(tmp_path, rows=300)
    makers: dict[str, Any] = contenders(max_length=24)
    ours = makers.pop("rayview")()(texts)["input_ids"].to_pylist()
    assert max(map(len, ours)) == 24
    (theirs,) = makers.values()
    assert ours == [encoding.ids for encoding in theirs()(texts)]
