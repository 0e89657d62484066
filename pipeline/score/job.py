"""Scoring jobs, and the values that are resolved once per output."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from pydantic import JsonValue

from pipeline.config import Config
from pipeline.ingest.clean.rows import Recipe
from pipeline.ingest.detect.sources import Source, choose_chunk_bytes
from pipeline.ingest.recorded_formats import columns_of, dialects_of
from pipeline.model.card import ModelCard
from pipeline.model.classifier import Classifier
from pipeline.model.options import BATCH_TOKENS, SAMPLE_ROWS, AutotuneOptions, ForwardOptions, TunedOptions
from pipeline.rundir.manifest import Run
from pipeline.rundir.record import Record
from pipeline.runtime.pools import Cluster, ScorePlan
from pipeline.runtime.precision import choose_precision
from pipeline.runtime.tasks import run_once
from pipeline.score.steps import ChunkWork
from pipeline.storage.location import Location

MAX_CHUNK_BYTES = {"cpu": 1 << 20, "gpu": 8 << 20}

_CONSUMERS = 8
"""Actors among which a small input is divided, several chunks each.

A constant instead of their actual number: batches are cut within a chunk, and the rows must be the same for
any number of actors.
"""

_AUTOTUNE_BYTES = {"cpu": 16 << 20, "gpu": 256 << 20}
"""Input size above which a job takes minutes, so that a few seconds of autotuning pay off."""


@dataclass(frozen=True)
class ScoreJob:
    """Everything about a scoring job that is known before Ray starts."""

    output: Location
    sources: list[Source]
    recipe: Recipe
    tokenizer: str
    """Content of tokenizer.json."""
    model: Classifier
    run: Run
    config: Config
    max_rows: int | None
    """Number of lines to score at most, over all files."""
    skipped: list[str]
    """One sentence for each input file that is left out."""

    @property
    def card(self) -> ModelCard:
        """Labels and limits of the model."""
        return self.model.card

    def chunk_work(self) -> ChunkWork:
        """Parameters of the tasks that encode and write chunks."""
        formats = {s.number: s.fmt for s in self.sources}
        fingerprint = str(self.run.model_fingerprint)
        return ChunkWork(
            self.output.uri, formats, self.recipe, self.tokenizer, self.card, self.run.key, fingerprint
        )

    def forward_options(self, resolved: Resolved) -> ForwardOptions:
        """Options with which an actor loads the model."""
        return ForwardOptions(
            self.model.name,
            str(self.run.model_fingerprint),
            self.card.max_length,
            resolved.precision,
            resolved.compiled,
            resolved.kernels,
            self.model.revision,
            self.card.activation,
        )


class Resolved(Record):
    """Values that the settings leave open, chosen once per output and stored in run.json."""

    chunk_bytes: int
    precision: str
    """float32 or bfloat16."""
    batch_tokens: int
    compiled: bool = False
    kernels: bool = False
    dialects: dict[str, dict[str, JsonValue]] | None = None
    """See ingest.recorded_formats; None in a run.json of an earlier version, as for `columns`."""
    columns: dict[str, dict[str, JsonValue]] | None = None


def resolve(job: ScoreJob, cluster: Cluster, pools: ScorePlan, *, tune: bool = True) -> Resolved:
    """Values for a new output. For a large input, options are autotuned on a worker.

    Args:
        tune: whether autotuning is allowed.
    """
    config, device = job.config.score, _device(pools)
    chosen = Resolved(
        chunk_bytes=choose_chunks(job, pools),
        precision=choose_precision(cluster, config.precision),
        batch_tokens=config.batch_tokens or BATCH_TOKENS[device],
        compiled=bool(config.compile),
        dialects=dialects_of(job.sources),
        columns=columns_of(job.sources),
    )
    large = sum(s.size_bytes for s in job.sources) >= _AUTOTUNE_BYTES[device] and job.max_rows is None
    if not (tune and large):
        return chosen
    forward = replace(job.forward_options(chosen), compiled=False)
    options = AutotuneOptions(forward, device, config.batch_tokens, config.compile)
    tuned = run_once(pools.scorers, _autotune, options, job.chunk_work(), job.sources)
    return chosen.model_copy(update=asdict(tuned))


def choose_chunks(job: ScoreJob, pools: ScorePlan) -> int:
    """Bytes of text in a chunk, independent of the number of actors."""
    return job.config.input.chunk_bytes or choose_chunk_bytes(
        job.sources, max_bytes=MAX_CHUNK_BYTES[_device(pools)], consumers=_CONSUMERS
    )


def _device(pools: ScorePlan) -> str:
    return "gpu" if pools.scorers.gpus else "cpu"


def _autotune(options: AutotuneOptions, work: ChunkWork, sources: list[Source]) -> TunedOptions:
    """Runs on a worker with the resources of an actor."""
    # Imports torch, which the driver does not need.
    from pipeline.model.autotune import autotune

    return autotune(options, work.first_rows(sources, SAMPLE_ROWS[options.device]))
