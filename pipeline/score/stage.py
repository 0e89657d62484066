"""The score stage: dumps or data/test → scores/, one part per chunk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.config import Config, LabelsConfig
from pipeline.details import Bill, PrecisionChange, ScoreDetails
from pipeline.humanize import counted
from pipeline.ingest.clean.labels import WORDS
from pipeline.ingest.clean.rows import Recipe, rating_rule
from pipeline.ingest.detect.report import columns_by_uri, warnings_of
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.parse.formats import ENCODED
from pipeline.ingest.read.limits import ReadLimits
from pipeline.ingest.recorded_formats import columns_of, dialects_of, with_recorded
from pipeline.ingest.stream import ReadPlan, read_dataset
from pipeline.model.classifier import find_classifier
from pipeline.model.tokenizer import check_vocabulary, tokenizer_json
from pipeline.progress import Reporter
from pipeline.rundir.claim import State, begin, check_apart, check_output, finish
from pipeline.rundir.declaration import Declaration
from pipeline.rundir.manifest import (
    Counts,
    Manifest,
    OutputFile,
    Run,
    describe_files,
    read_manifest,
    read_run,
)
from pipeline.runtime.crash_guard import CrashGuard, guard_run
from pipeline.runtime.pools import Cluster, ScorePlan, plan_score
from pipeline.runtime.ray_data import limit_backlog, map_batches, map_in_actors
from pipeline.score.cost import make_bill
from pipeline.score.failed_rows import FailedRows, write_failed
from pipeline.score.inputs import (
    check_tokenizer,
    find_input,
    foreign_settings,
    input_config,
    inputs_of,
    is_split,
    recorded_revision,
    scored_labels,
    with_columns_of,
)
from pipeline.score.job import Resolved, ScoreJob, resolve
from pipeline.score.predictor import Predictor, PredictorOptions
from pipeline.score.resume import Committed, committed_entries, find_committed, unfinished_sources
from pipeline.storage.location import locate

if TYPE_CHECKING:
    from pydantic import JsonValue
    from ray.data import Dataset

_FEW_CHUNKS = 20_000
"""Number of committed chunks whose accounts can be read in seconds."""

DECLARATION = Declaration(
    files=(r"part-[\d-]+\.parquet",),
    provisional=(r"rejects/(part|failed)-[\d-]+\.parquet",),
    resumes=True,
)
"""Every file of a scores directory."""


def plan(inputs: list[str], model: str, output: str, config: Config, *, extend: bool = False) -> ScoreJob:
    """Check inputs, model and output; write nothing.

    The text is built as in training: with the model's max_length and separator, and its columns unless
    `input.text` names those of another dump. For a model that jobs.train did not write, the settings apply.

    Args:
        model: directory, URI, or name on the Hub.
        extend: whether the output keeps the order of its inputs, and new ones follow them.
    Raises:
        UserError: one of them is unsuitable, see errors.py.
    """
    to = locate(output)
    classifier = find_classifier(model, config, recorded_revision(to))
    card, where = classifier.card, classifier.directory
    tokenizer = tokenizer_json(classifier.files)
    check_vocabulary(classifier.files, tokenizer)
    reading = input_config(inputs, config.input, card)
    labels = scored_labels(config.labels, card)
    first = inputs_of(to, reading) if extend else []
    trained = with_columns_of(card, reading) if not is_split(inputs) else None
    sources, skipped = find_input(inputs, reading, [to], first, trained, labels)
    files = [locate(source.uri) for source in sources]
    check_apart(to, [*files, *([] if where is None else [where])])
    if is_split(inputs):
        check_tokenizer(locate(inputs[0]).parent, classifier, tokenizer)
    run = Run(
        stage="score",
        inputs=describe_files(files),
        model_fingerprint=classifier.fingerprint,
        settings={
            "input": (trained or reading).of_run(),
            "score": config.score.model_dump(mode="json", include={"precision", "batch_tokens", "compile"}),
            # The settings of the model are part of its fingerprint, unless it is a foreign one.
            **foreign_settings(classifier),
            **_own_labels(config.labels),
        },
        declaration=DECLARATION,
    )
    recipe = Recipe(
        text_separator=card.text_separator,
        max_length=card.max_length,
        verified_only=reading.verified_only,
        scheme=None,
        unescape_html=card.unescape_html,
        limits=ReadLimits.of(reading),
        word_labels=card.scheme == WORDS,
        ratings=rating_rule(labels),
        skip_null_text=reading.null_text == "skip",
    )
    return ScoreJob(to, sources, recipe, tokenizer, classifier, run, config, reading.max_rows, skipped)


def _own_labels(labels: LabelsConfig) -> dict[str, dict[str, JsonValue]]:
    """Settings of the ratings that are given explicitly."""
    given = labels.model_dump(mode="json", include={"scale", "unrated"}, exclude_none=True)
    return {"labels": given} if given else {}


def score(
    job: ScoreJob,
    cluster: Cluster,
    reporter: Reporter,
    *,
    overwrite: bool = False,
    extend: bool = False,
    predictor: type = Predictor,
) -> Manifest[ScoreDetails]:
    """Run the job on a connected cluster. Committed chunks are not scored again.

    Args:
        extend: see claim.begin; the plan must have been made with the same value.
        predictor: class of the actors; benchmarks replace it to measure without the model.
    Returns:
        The manifest, also if the job is already finished.
    Raises:
        OutputError, ErrorBudgetError, AccountingError: see errors.py.
    """
    start = time.monotonic()
    pools = plan_score(cluster, len(job.sources), job.config.score.num_actors)
    run = job.run
    if job.model.is_foreign:
        reporter.say(f"score: {job.model}")
    state = check_output(job.output, run, overwrite=overwrite, extend=extend)
    if state is State.FRESH:
        resolved = resolve(job, cluster, pools, tune=issubclass(predictor, Predictor))
        run = run.model_copy(update={"resolved": resolved.model_dump()})
    elif state is not State.FINISHED:
        # New files of an extended run are added to those that run.json has.
        formats = {"dialects": dialects_of(job.sources), "columns": columns_of(job.sources)}
        run = run.model_copy(update={"resolved": formats})
        job = _as_before(job)
    if begin(job.output, run, overwrite=overwrite, extend=extend) is State.FINISHED:
        return read_manifest(job.output, ScoreDetails)
    resolved = Resolved.model_validate(read_run(job.output).resolved)
    ledger = Ledger(job.sources, job.config.input.max_rejected_frac, job.config.input.strict)
    committed = find_committed(job.output, run)
    earlier = committed_entries(job.output, run, committed)
    chunks = sum(len(c.numbers) for c in committed.values())
    # Reading the accounts of a million chunks takes minutes, and only the final sums need them.
    at_once = ledger.strict or chunks <= _FEW_CHUNKS
    if chunks:
        reporter.say(f"score: {counted(chunks, 'chunk')} committed by an earlier job; resuming")
        ledger.expect({file: c.bytes_read for file, c in committed.items()})
    if at_once:
        # An error in them must stop the job now, not at its end.
        ledger.add_all(earlier)
    dataset_start = time.monotonic()
    sources = unfinished_sources(job.sources, job.max_rows, committed)
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


def _as_before(job: ScoreJob) -> ScoreJob:
    """The job, with the formats of its files that run.json has."""
    existing = read_run(job.output)
    stored = Resolved.model_validate(existing.resolved)
    known = [file.path for file in existing.inputs]
    sources = with_recorded(job.sources, stored.dialects, stored.columns, job.output.uri, known)
    return replace(job, sources=sources)


def _write_failed(job: ScoreJob, ledger: Ledger, pools: ScorePlan, reporter: Reporter) -> list[OutputFile]:
    work = FailedRows(job.output.uri, job.run.key, job.recipe.parse_options())
    return write_failed(work, ledger.ordered(), job.sources, pools.readers, reporter)


def _pipeline(
    job: ScoreJob,
    sources: list[Source],
    resolved: Resolved,
    pools: ScorePlan,
    committed: Mapping[int, Committed],
    predictor: type,
    guard: CrashGuard,
) -> Dataset:
    """read → encode → score → write, as a Ray dataset of one account per chunk."""
    done = {file: c.done for file, c in committed.items()}
    read = ReadPlan(resolved.chunk_bytes, job.max_rows, job.recipe.limits, done, guard)
    work = replace(job.chunk_work(), guard=guard)
    forward = job.forward_options(resolved)
    options = PredictorOptions(forward, job.card, resolved.batch_tokens, pools.scorers.threads, guard)
    apply = map_in_actors if pools.stay else map_batches
    dataset = read_dataset(sources, read, pools.readers)
    dataset = apply(dataset, work.encode_chunk, pools.encoders)
    dataset = map_batches(dataset, predictor, pools.scorers, fn_constructor_args=[options])
    dataset = apply(dataset, work.write_chunk, pools.writers)
    if any(source.fmt == ENCODED for source in sources):
        # prepare chose the size of these chunks, and a split is small.
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
        **resolved.model_dump(exclude={"dialects", "columns"}),
        labels=job.card.labels,
        scheme=job.card.scheme,
        problem=job.card.problem,
        scale=str(job.recipe.ratings.scale),
        tokens=int(ledger.total("tokens")),
        bill=bill,
        formats={s.uri: s.format_name for s in job.sources},
        columns=columns_by_uri(job.sources),
        warnings=warnings_of(job.sources, job.skipped),
        broken=ledger.broken,
        **({} if compared is None else {"against_float32": compared}),
    )
    return Manifest.of(job.run, job.config, start, details, outputs=outputs, counts=counts)


def _against_float32(ledger: Ledger, precision: str) -> PrecisionChange | None:
    """How the precision changes the scores; None if no rows were compared."""
    rows = int(ledger.total("compared_rows"))
    if precision == "float32" or not rows:
        return None
    return PrecisionChange(
        rows=rows,
        labels_changed_frac=ledger.total("changed_labels") / rows,
        largest_change=ledger.total("largest_change"),
    )
