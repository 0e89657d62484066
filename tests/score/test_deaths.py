"""Processes that die over a chunk, whenever it comes: the job ends, and has all other chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.failures import clear_frames
from pipeline.errors import OutputError
from pipeline.progress import Reporter
from pipeline.score import stage
from pipeline.score.predictor import Predictor
from pipeline.score.steps import ChunkWork
from pipeline.score.verify import verify
from pipeline.settings import load_config
from pipeline.storage.location import locate
from tests.score.deadly import BAD_CHUNK, DeadlyPredictor, DeadlyWork, DeadlyWriting

pytestmark = pytest.mark.ray

SETS = ["input.chunk_bytes=65536", "score.precision=float32", "score.num_actors=1"]


@pytest.mark.parametrize("step", ["encode", "score"])
def test_one_chunk_is_set_aside_and_no_other(
    untrained: str,
    dump: Path,
    cluster: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    sets = [*SETS, "input.max_rejected_frac=0.9"]
    job = stage.plan([str(dump)], untrained, str(tmp_path / "s"), load_config(None, sets))
    predictor = Predictor
    if step == "encode":
        plain = stage.chunk_work

        def deadly(job: Any) -> ChunkWork:
            return DeadlyWork(**plain(job).__dict__)

        monkeypatch.setattr(stage, "chunk_work", deadly)
    else:
        predictor = DeadlyPredictor
    manifest = stage.score(job, cluster, Reporter(), predictor=predictor)
    counts = manifest.counts
    assert counts is not None
    assert verify(locate(tmp_path / "s")).faults == {}
    name = f"part-00000-{BAD_CHUNK:06d}.parquet" if step == "encode" else "failed-00000.parquet"
    rejects = pq.read_table(tmp_path / "s" / "rejects" / name).to_pylist()
    died = [r for r in rejects if r["reason"] == "worker_died"]
    assert counts.rejected["worker_died"] == len(died) > 0
    assert {r["detail"] for r in died} == {f"3 workers crashed while trying to {step} this chunk"}
    assert all(r["raw"].startswith(b"{") and r["byte_offset"] > 0 for r in died)
    part = pq.read_table(tmp_path / "s" / f"part-00000-{BAD_CHUNK:06d}.parquet")
    assert part.num_rows == 0
    assert part.schema.names == pq.read_schema(tmp_path / "s" / "part-00000-000000.parquet").names
    if step == "score":
        # As after a kill during the last pass: it is repeated, and nothing is scored again.
        (tmp_path / "s" / "manifest.json").unlink()
        (tmp_path / "s" / "rejects" / name).unlink()
        assert stage.score(job, cluster, Reporter()).outputs == manifest.outputs


def test_a_chunk_that_cannot_be_written_ends_the_job(
    untrained: str, dump: Path, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = stage.plan([str(dump)], untrained, str(tmp_path / "s"), load_config(None, SETS))
    plain = stage.chunk_work
    monkeypatch.setattr(stage, "chunk_work", lambda job: DeadlyWriting(**plain(job).__dict__))
    name = f"part-00000-{BAD_CHUNK:06d}.parquet"
    said = f"{name}: 3 workers crashed while trying to write this chunk"
    with pytest.raises(OutputError, match=said) as failed:
        stage.score(job, cluster, Reporter())
    # As a job does: else its actors live, and keep their CPUs from the next one's.
    clear_frames(failed.value)
    assert not (tmp_path / "s" / "manifest.json").exists()
    monkeypatch.undo()
    stage.score(job, cluster, Reporter())
    assert verify(locate(tmp_path / "s")).faults == {}
