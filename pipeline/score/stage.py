"""The score stage: dumps or data/test → scores/, one part a chunk."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from pipeline.config import Config, InputConfig
from pipeline.details import Bill, PrecisionChange, PrepareDetails, ScoreDetails
from pipeline.errors import InputError, ModelError, SettingError
from pipeline.humanize import counted
from pipeline.ingest.clean.labels import WORDS
from pipeline.ingest.clean.rows import Recipe
from pipeline.ingest.detect.sources import Source, choose_chunk_bytes, detect_sources, encoded_sources
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.parse.formats import ENCODED
from pipeline.ingest.read.limits import ReadLimits
from pipeline.ingest.stream import ReadPlan, read_dataset
from pipeline.model.card import ModelCard, fingerprint_model, read_card
from pipeline.model.options import BATCH_TOKENS, SAMPLE_ROWS, AutotuneOptions, ForwardOptions, TunedOptions
from pipeline.model.tokenizer import check_vocabulary, tokenizer_json
from pipeline.progress import Reporter
from pipeline.rundir.claim import State, begin, check_apart, check_output, finish
from pipeline.rundir.declaration import Declaration
from pipeline.rundir.manifest import (
    MANIFEST_FILE,
    RUN_FILE,
    Counts,
    Manifest,
    OutputFile,
    Run,
    describe_files,
    read_manifest,
    read_run,
)
from pipeline.rundir.record import Record
from pipeline.runtime.crash_guard import CrashGuard, guard_run
from pipeline.runtime.pools import Cluster, ScorePlan, plan_score
from pipeline.runtime.precision import choose_precision
from pipeline.runtime.ray_data import limit_backlog, map_batches, map_in_actors
from pipeline.runtime.tasks import run_once
from pipeline.score.cost import make_bill
from pipeline.score.failed_rows import FailedRows, write_failed
from pipeline.score.predictor import Predictor, PredictorOptions
from pipeline.score.resume import Committed, committed_entries, find_committed
from pipeline.score.steps import ChunkWork
from pipeline.storage.cache import local_copy
from pipeline.storage.expand import expand_inputs
from pipeline.storage.location import Location, locate

if TYPE_CHECKING:
    from ray.data import Dataset

MAX_CHUNK_BYTES = {"cpu": 1 << 20, "gpu": 8 << 20}

_CONSUMERS = 8
"""Actors that get several chunks each of a small input. A constant, not their number: batches are cut within
a chunk, and the rows must be the same for any number of actors."""

_FEW_CHUNKS = 20_000
"""Number of accounts of earlier chunks that can be read in seconds."""

LONG_BYTES = {"cpu": 16 << 20, "gpu": 256 << 20}
"""Size of the input from which a job takes minutes, so that some seconds of autotuning pay off."""

DECLARATION = Declaration(
    files=(r"part-[\d-]+\.parquet",),
    provisional=(r"rejects/(part|failed)-[\d-]+\.parquet",),
    resumes=True,
)
"""Every file of a scores directory."""


class Resolved(Record):
    """Values that the settings leave open, chosen once for the life of an output and stored in run.json."""

    chunk_bytes: int
    precision: str
    """float32 or bfloat16."""
    batch_tokens: int
    compiled: bool = False
    kernels: bool = False


@dataclass(frozen=True)
class ScoreJob:
    """Everything about a scoring job that is known before Ray starts."""

    output: Location
    sources: list[Source]
    recipe: Recipe
    tokenizer: str
    card: ModelCard
    model: Location
    run: Run
    config: Config
    max_rows: int | None
    """Lines to score at most, counted over the files."""


def plan(inputs: list[str], model: str, output: str, config: Config, *, extend: bool = False) -> ScoreJob:
    """Look at inputs, model and output; write nothing.

    The text is made as the model was trained: its max_length and separator, and its columns unless
    `input.text` names those of another dump.

    Args:
        extend: whether to keep the order of the inputs that the output has, and add new ones behind them.
    Raises:
        UserError: any of them does not fit, see errors.py.
    """
    where, to = locate(model), locate(output)
    card = read_card(where)
    tokenizer = tokenizer_json(local_copy(where))
    check_vocabulary(local_copy(where), tokenizer)
    input_config = _input_config(inputs, config.input, card)
    before = _inputs_before(to, input_config) if extend else []
    files, sources = find_input(inputs, input_config, [to], before)
    check_apart(to, [*files, where])
    if is_split(inputs):
        _check_tokenizer(locate(inputs[0]).parent, where)
    run = Run(
        stage="score",
        inputs=describe_files(files),
        model_fingerprint=fingerprint_model(where),
        settings={
            "input": input_config.model_dump(mode="json", exclude={"max_rejected_frac", "strict"}),
            "score": config.score.model_dump(mode="json", include={"precision", "batch_tokens", "compile"}),
        },
        declaration=DECLARATION,
    )
    recipe = Recipe(
        text_separator=card.text_separator,
        max_length=card.max_length,
        verified_only=input_config.verified_only,
        scheme=None,
        unescape_html=card.unescape_html,
        limits=ReadLimits.of(input_config),
        word_labels=card.scheme == WORDS,
    )
    return ScoreJob(to, sources, recipe, tokenizer, card, where, run, config, input_config.max_rows)


def _input_config(inputs: list[str], config: InputConfig, card: ModelCard) -> InputConfig:
    if is_split(inputs):
        # Its rows were chosen and joined by prepare already.
        return InputConfig(max_rejected_frac=config.max_rejected_frac, strict=config.strict)
    own = {"text_separator": card.text_separator, "unescape_html": card.unescape_html}
    return config.model_copy(update={"text": config.text or card.text, **own})


def is_split(inputs: list[str]) -> bool:
    """Whether the input is a split of prepared data, as OUTPUT/test."""
    if len(inputs) != 1 or locate(inputs[0]).name not in ("train", "val", "test"):
        return False
    return locate(inputs[0]).parent.child(MANIFEST_FILE).exists()


def _check_tokenizer(data: Location, model: Location) -> None:
    """Raise ModelError unless the data were encoded with the tokenizer that the model was trained with."""
    encoded_with = read_manifest(data, PrepareDetails).model_fingerprint
    if read_run(model).model_fingerprint != encoded_with:
        raise ModelError(
            f"{model.uri}: trained with another tokenizer than {data.uri} was encoded with; score the dumps"
            " themselves, or prepare them again with the model's tokenizer"
        )


def _inputs_before(output: Location, config: InputConfig) -> list[str]:
    """URIs of the inputs that an output has, in their order: parts are named after their numbers."""
    if config.max_rows is not None:
        raise SettingError(f"input.max_rows={config.max_rows} does not go with --extend; leave one out")
    return [file.path for file in read_run(output).inputs] if output.child(RUN_FILE).exists() else []


def find_input(
    inputs: list[str], config: InputConfig, outputs: Collection[Location], before: Sequence[str] = ()
) -> tuple[list[Location], list[Source]]:
    """The input as files: those of a split of prepared data, by its manifest, or dumps; none in `outputs`.

    Args:
        before: URIs of files that come first, in this order, if they are among them.
    """
    if is_split(inputs):
        split = locate(inputs[0])
        manifest = read_manifest(split.parent, PrepareDetails)
        files = [split.parent.child(o.path) for o in manifest.outputs if o.path.startswith(f"{split.name}/")]
        if not files:
            raise InputError(f"{split.uri}: this split has no rows")
        return files, encoded_sources(files)
    places = {uri: number for number, uri in enumerate(before)}
    files = sorted(expand_inputs(inputs, outputs), key=lambda f: places.get(f.uri, len(places)))
    return files, detect_sources(files, config, need_stars=False)


def score(
    job: ScoreJob,
    cluster: Cluster,
    reporter: Reporter,
    *,
    overwrite: bool = False,
    extend: bool = False,
    predictor: type = Predictor,
) -> Manifest[ScoreDetails]:
    """Run the job on a cluster that is connected. Chunks that are scored already are not scored again.

    Args:
        extend: see outputs.begin; the job must be planned so.
        predictor: the class in the actors; another class for a measurement without the model.
    Returns:
        The manifest, also where the same job was finished before.
    Raises:
        OutputError, ErrorBudgetError, AccountingError: see errors.py.
    """
    start = time.monotonic()
    pools = plan_score(cluster, len(job.sources), job.config.score.num_actors)
    run = job.run
    if check_output(job.output, run, overwrite=overwrite, extend=extend) is State.FRESH:
        resolved = _resolve(job, cluster, pools, predictor)
        run = run.model_copy(update={"resolved": resolved.model_dump()})
    if begin(job.output, run, overwrite=overwrite, extend=extend) is State.FINISHED:
        return read_manifest(job.output, ScoreDetails)
    resolved = Resolved.model_validate(read_run(job.output).resolved)
    ledger = Ledger(job.sources, job.config.input.max_rejected_frac, job.config.input.strict)
    committed = find_committed(job.output, run)
    earlier = committed_entries(job.output, run, committed)
    chunks = sum(len(c.numbers) for c in committed.values())
    # Reading the accounts of a million chunks takes minutes; they are needed only for the sums at the end.
    at_once = ledger.strict or chunks <= _FEW_CHUNKS
    if chunks:
        reporter.say(f"score: {counted(chunks, 'chunk')} committed by an earlier job; resuming")
        ledger.expect({file: c.bytes_read for file, c in committed.items()})
    if at_once:
        # A fault in them must stop the job now, not at its end.
        ledger.add_all(earlier)
    dataset_start = time.monotonic()
    sources = _unfinished(job, committed)
    if sources:
        with guard_run() as guard:
            dataset = _pipeline(job, sources, resolved, pools, committed, predictor, guard)
            ledger.fill(dataset, reporter, "score")
    if not at_once:
        reporter.say(f"score: reading the accounts of {chunks:,} chunks of earlier jobs")
        ledger.add_all(earlier)
    counts = ledger.close(all_files=job.max_rows is None)
    price = job.config.cost.per_device_hour
    bill = make_bill(ledger, cluster, pools, time.monotonic() - dataset_start, price)
    outputs = [*ledger.outputs(), *_write_failed(job, ledger, pools, reporter)]
    manifest = _manifest(job, ledger, outputs, counts, resolved, bill, start)
    finish(job.output, job.run, manifest)
    return manifest


def _resolve(job: ScoreJob, cluster: Cluster, pools: ScorePlan, predictor: type) -> Resolved:
    """The values for an output that is begun now."""
    config, device = job.config.score, _device(pools)
    chosen = Resolved(
        chunk_bytes=choose_chunks(job, pools),
        precision=choose_precision(cluster, config.precision),
        batch_tokens=config.batch_tokens or BATCH_TOKENS[device],
        compiled=bool(config.compile),
    )
    long = sum(s.size_bytes for s in job.sources) >= LONG_BYTES[device] and job.max_rows is None
    if not long or not issubclass(predictor, Predictor):
        return chosen
    forward = replace(_forward_options(job, chosen), compiled=False)
    options = AutotuneOptions(forward, device, config.batch_tokens, config.compile)
    tuned = run_once(pools.scorers, _autotune, options, chunk_work(job), job.sources)
    return chosen.model_copy(update=asdict(tuned))


def choose_chunks(job: ScoreJob, pools: ScorePlan) -> int:
    """Bytes of text in a chunk: the same for any number of actors."""
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


def _forward_options(job: ScoreJob, resolved: Resolved) -> ForwardOptions:
    return ForwardOptions(
        job.model.uri,
        str(job.run.model_fingerprint),
        job.card.max_length,
        resolved.precision,
        resolved.compiled,
        resolved.kernels,
    )


def chunk_work(job: ScoreJob) -> ChunkWork:
    """What tasks need to encode and write the chunks of a job."""
    formats = {s.number: s.fmt for s in job.sources}
    return ChunkWork(
        job.output.uri,
        formats,
        job.recipe,
        job.tokenizer,
        job.card,
        job.run.key,
        str(job.run.model_fingerprint),
    )


def _write_failed(job: ScoreJob, ledger: Ledger, pools: ScorePlan, reporter: Reporter) -> list[OutputFile]:
    work = FailedRows(job.output.uri, job.run.key, job.recipe.parse_options())
    return write_failed(work, ledger.ordered(), job.sources, pools.readers, reporter)


def _unfinished(job: ScoreJob, committed: Mapping[int, Committed]) -> list[Source]:
    """The files that must be read. Where lines are counted over all of them, that is each."""
    if job.max_rows is not None:
        return job.sources
    return [s for s in job.sources if s.number not in committed or not committed[s.number].ended]


def _pipeline(
    job: ScoreJob,
    sources: list[Source],
    resolved: Resolved,
    pools: ScorePlan,
    committed: Mapping[int, Committed],
    predictor: type,
    guard: CrashGuard,
) -> Dataset:
    """read → encode → score → write, as a Ray dataset of the chunks' accounts."""
    done = {file: c.done for file, c in committed.items()}
    read = ReadPlan(resolved.chunk_bytes, job.max_rows, job.recipe.limits, done, guard)
    work = replace(chunk_work(job), guard=guard)
    forward = _forward_options(job, resolved)
    options = PredictorOptions(forward, job.card, resolved.batch_tokens, pools.scorers.threads, guard)
    apply = map_in_actors if pools.stay else map_batches
    dataset = read_dataset(sources, read, pools.readers)
    dataset = apply(dataset, work.encode_chunk, pools.encoders)
    dataset = map_batches(dataset, predictor, pools.scorers, fn_constructor_args=[options])
    dataset = apply(dataset, work.write_chunk, pools.writers)
    if any(source.fmt == ENCODED for source in sources):
        # Their chunks are as large as prepare made them; and one split is not endless.
        return dataset
    later = pools.encoders, pools.scorers, pools.writers
    return limit_backlog(dataset, resolved.chunk_bytes, pools.readers, *later)


def _manifest(
    job: ScoreJob,
    ledger: Ledger,
    outputs: list[OutputFile],
    counts: Counts,
    resolved: Resolved,
    bill: Bill,
    start: float,
) -> Manifest[ScoreDetails]:
    compared = _against_float32(ledger, resolved.precision)
    details = ScoreDetails(
        **resolved.model_dump(),
        labels=job.card.labels,
        scheme=job.card.scheme,
        tokens=int(ledger.total("tokens")),
        bill=bill,
        formats={s.uri: s.format_name for s in job.sources},
        broken=ledger.broken,
        **({} if compared is None else {"against_float32": compared}),
    )
    return Manifest.of(job.run, job.config, start, details, outputs=outputs, counts=counts)


def _against_float32(ledger: Ledger, precision: str) -> PrecisionChange | None:
    """What the precision changes; None where nothing was compared."""
    rows = int(ledger.total("compared_rows"))
    if precision == "float32" or not rows:
        return None
    return PrecisionChange(
        rows=rows,
        labels_changed_frac=ledger.total("changed_labels") / rows,
        largest_change=ledger.total("largest_change"),
    )
