"""A chunk that crashes its worker at every attempt is set aside; the job finishes all other chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.errors import OutputError
from pipeline.progress import Reporter
from pipeline.rundir.parts import part_name
from pipeline.score import stage
from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.score.deadly import FATAL, DeadlyPredictor, DeadlyWork, DeadlyWriting, TokenPredictor
from tests.score.small_job import plan_small

pytestmark = pytest.mark.ray

LENIENT = "input.max_rejected_frac=0.9"


def fail_to_write(dump: Path, model: str, scores: Path, cluster: Any) -> None:
    """Run a job in which one chunk crashes its writers; the job fails."""
    job = plan_small(dump, model, scores, LENIENT, work_class=DeadlyWriting)
    said = f"{part_name(*FATAL['write'])}: 3 workers crashed while trying to write this chunk"
    with pytest.raises(OutputError, match=said):
        stage.score(job, cluster, Reporter(), predictor=TokenPredictor)
    assert not (scores / "manifest.json").exists()
    assert not (scores / part_name(*FATAL["write"])).exists()


def test_chunk_that_cannot_be_written_fails_the_job_and_others_that_crash_are_set_aside(
    untrained: str, dump: Path, cluster: Any, tmp_path: Path
) -> None:
    scores = tmp_path / "s"
    fail_to_write(dump, untrained, scores, cluster)
    # The next job completes that output. A chunk of one file crashes its encoder; a chunk of the other
    # crashes its scorer.
    job = plan_small(dump, untrained, scores, LENIENT, work_class=DeadlyWork)
    manifest = stage.score(job, cluster, Reporter(), predictor=DeadlyPredictor)
    assert verify(locate(scores)).faults == {}
    names = {"encode": part_name(*FATAL["encode"]), "score": f"failed-{FATAL['score'][0]:05d}.parquet"}
    crashed = 0
    for step, name in names.items():
        rejects = pq.read_table(scores / "rejects" / name).to_pylist()
        rows = [row for row in rejects if row["reason"] == "worker_died"]
        assert {row["detail"] for row in rows} == {f"3 workers crashed while trying to {step} this chunk"}
        assert all(row["raw"].startswith(b"{") and row["byte_offset"] > 0 for row in rows)
        crashed += len(rows)
        part = pq.read_table(scores / part_name(*FATAL[step]))
        assert part.num_rows == 0
        assert part.schema.names == pq.read_schema(scores / part_name(0, 0)).names
    assert manifest.counts is not None
    assert manifest.counts.rejected["worker_died"] == crashed
    # As after a kill during the last pass: only that pass is repeated; nothing is scored again.
    (scores / "manifest.json").unlink()
    (scores / "rejects" / names["score"]).unlink()
    job = plan_small(dump, untrained, scores, LENIENT)
    assert stage.score(job, cluster, Reporter()).outputs == manifest.outputs
