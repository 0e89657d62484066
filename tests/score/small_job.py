"""The scoring job into which tests inject faults: the small dump and the untrained classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.ingest.stream import ReadPlan, read_group
from pipeline.model.options import BATCH_TOKENS
from pipeline.score.job import Resolved, ScoreJob
from pipeline.score.predictor import GuardedPredictor, PredictorOptions
from pipeline.score.stage import plan
from pipeline.score.steps import ChunkWork
from pipeline.settings import load_config

CHUNK_BYTES = 65_536
SETS = [f"input.chunk_bytes={CHUNK_BYTES}", "score.precision=float32", "score.num_actors=1"]
OPTIONS = [item for pair in SETS for item in ("--set", pair)]


@dataclass(frozen=True)
class DisturbedJob(ScoreJob):
    """A job that encodes and writes chunks with a given class."""

    work_class: Callable[..., ChunkWork]

    def chunk_work(self) -> ChunkWork:
        return self.work_class(**super().chunk_work().__dict__)


def plan_small(
    dump: Path, model: str, output: Path, *sets: str, work_class: Callable[..., ChunkWork] = ChunkWork
) -> ScoreJob:
    """The job, with additional settings."""
    job = plan([str(dump)], model, str(output), load_config(None, [*SETS, *sets]))
    return DisturbedJob(**job.__dict__, work_class=work_class)


def score_here(job: ScoreJob, predictor: type[GuardedPredictor]) -> None:
    """Score the chunks of a job in this process, without Ray, run.json and manifest."""
    resolved = Resolved(
        chunk_bytes=CHUNK_BYTES, precision="float32", batch_tokens=BATCH_TOKENS["cpu"], compiled=False
    )
    work = job.chunk_work()
    options = PredictorOptions(job.forward_options(resolved), job.card, resolved.batch_tokens)
    score = predictor(options)
    for table in read_group(job.sources, ReadPlan(CHUNK_BYTES, limits=job.recipe.limits)):
        work.write_chunk(score(work.encode_chunk(table)))
