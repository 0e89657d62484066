"""Backpressure: readers are throttled when the model is the bottleneck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.progress import Reporter
from pipeline.runtime import ray_data
from pipeline.score import stage
from pipeline.settings import load_config
from pipeline.storage.location import locate
from pipeline.synth import write_dump
from tests.score.slow import SlowPredictor

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = 60_000
LEAST_CHUNKS, MOST_WAITING = 330, 140


@pytest.mark.parametrize("limited", [True, False])
def test_slow_model_throttles_readers(
    untrained: str, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limited: bool
) -> None:
    write_dump(locate(tmp_path / "dump"), rows=ROWS, shards=1, seed=0)
    # With the default minimum size, readers run ahead over the whole dump: this shows that the test can fail.
    if limited:
        monkeypatch.setattr(ray_data, "_MIN_BACKLOG_BYTES", 0)
    sets = ["input.chunk_bytes=65536", "score.precision=float32"]
    job = stage.plan([str(tmp_path / "dump")], untrained, str(tmp_path / "s"), load_config(None, sets))
    manifest = stage.score(job, cluster, Reporter(), predictor=SlowPredictor)
    assert manifest.counts is not None
    assert manifest.counts.lines == ROWS
    assert len([o for o in manifest.outputs if "/" not in o.path]) >= LEAST_CHUNKS
    waiting = manifest.details.bill.most_waiting_chunks
    assert waiting < MOST_WAITING if limited else waiting > MOST_WAITING
