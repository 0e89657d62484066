"""Steps that all stages share: check, dry run, result of a finished run, connect, run, summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from pipeline.humanize import counted
from pipeline.progress import format_s

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.evaluate.stage import EvaluateJob
    from pipeline.ingest.detect.sources import Source
    from pipeline.prepare.stage import PrepareJob
    from pipeline.rundir.claim import State
    from pipeline.rundir.manifest import Details, Manifest
    from pipeline.runtime.pools import Cluster, Pool
    from pipeline.score.job import ScoreJob
    from pipeline.storage.location import Location
    from pipeline.train.stage import TrainJob

DetailsT = TypeVar("DetailsT", bound="Details")


@dataclass(frozen=True)
class Stage(Generic[DetailsT]):
    """Planned stage: inputs and output have been checked, nothing has been written."""

    plan: PrepareJob | TrainJob | ScoreJob | EvaluateJob
    details: type[DetailsT]
    """Class of the details in its manifest."""
    work: Callable[..., Manifest[DetailsT]]
    """Runs the stage; called with the cluster, the reporter and `overwrite`."""
    pools: Callable[[Cluster], Mapping[str, Pool]]
    """Worker pools by name, for the printed plan."""
    summary: Callable[[Manifest[DetailsT]], Sequence[str]]
    """Lines printed after a run."""
    sources: Sequence[Source] = ()
    """Input files."""
    skipped: Sequence[str] = ()
    """One sentence for each input file that is left out."""
    directories: Mapping[str, Location] = field(default_factory=dict)
    """Input directories by name, for the printed plan."""
    notes: Sequence[str] = ()
    """Additional lines of the printed plan."""
    result: Callable[[Session, Manifest[DetailsT]], None] | None = None
    """Prints the result of this run, or of an earlier finished run."""
    extend: bool = False
    """Whether inputs are added to a finished output."""


def run_stage(job: Session, stage: Stage[DetailsT], *, dry_run: bool, overwrite: bool) -> None:
    """Run a stage, unless the same run is already finished, or print its plan.

    Raises:
        RayviewError: see errors.py; also ErrorBudgetError if a finished output has more rejected lines than
            the current settings allow.
    """
    from pipeline.rundir.claim import State, check_output
    from pipeline.runtime.connect import survey

    plan, config = stage.plan, stage.plan.config
    state = check_output(plan.output, plan.run, overwrite=overwrite, extend=stage.extend)
    if dry_run:
        print_plan(job, stage, survey(config.cluster), state)
        return
    finished = state is State.FINISHED
    manifest = _read_finished(job, stage) if finished else _run(job, stage, overwrite=overwrite)
    if stage.result is not None:
        stage.result(job, manifest)


def _read_finished(job: Session, stage: Stage[DetailsT]) -> Manifest[DetailsT]:
    from pipeline.details import PrepareDetails, ScoreDetails
    from pipeline.ingest.ledger import check_finished
    from pipeline.rundir.manifest import read_manifest

    plan, limits = stage.plan, stage.plan.config.input
    manifest = read_manifest(plan.output, stage.details)
    if manifest.counts is not None and isinstance(manifest.details, PrepareDetails | ScoreDetails):
        broken = manifest.details.broken
        check_finished(manifest.counts, broken, limits.max_rejected_frac, strict=limits.strict)
    job.reporter.say(f"{plan.run.stage}: already finished → {plan.output.uri}")
    return manifest


def _run(job: Session, stage: Stage[DetailsT], *, overwrite: bool) -> Manifest[DetailsT]:
    from pipeline.ingest.detect.report import column_lines, warning_lines
    from pipeline.runtime.connect import check_shared
    from pipeline.storage.location import locate

    plan, config = stage.plan, stage.plan.config
    for line in column_lines(stage.sources):
        job.reporter.say(f"{plan.run.stage}: {line}")
    for line in warning_lines(stage.sources, stage.skipped):
        job.reporter.say(line)
    cluster = job.connect(config)
    reads = [*stage.directories.values(), *(locate(source.uri) for source in stage.sources)]
    check_shared([plan.output, *reads], cluster, config.cluster)
    manifest = stage.work(cluster, job.reporter, overwrite=overwrite)
    for line in stage.summary(manifest):
        job.reporter.say(line)
    return manifest


def print_plan(job: Session, stage: Stage[DetailsT], cluster: Cluster, state: State) -> None:
    """Print the inputs, resources and output of a stage."""
    from pipeline.ingest.detect.report import column_lines, warning_lines

    job.print(f"{stage.plan.run.stage}: would run on {cluster}")
    for source in stage.sources:
        job.print(f"  input: {source.uri} ({counted(source.size_bytes, 'byte')}, {source.format_name})")
    for line in [*column_lines(stage.sources), *warning_lines(stage.sources, stage.skipped)]:
        job.print(f"  {line}")
    for name, directory in stage.directories.items():
        job.print(f"  {name}: {directory.uri}")
    for note in stage.notes:
        job.print(f"  {note}")
    for name, pool in stage.pools(cluster).items():
        job.print(f"  {name}: {pool}")
    found = "" if state.value == "fresh" else f" ({state.value})"
    job.print(f"  output: {stage.plan.output.uri}{found}")


def where(manifest: Manifest, output: Location) -> str:
    """Duration and output directory of a stage: `0:07 → out`."""
    return f"{format_s(manifest.seconds)} → {output.uri}"


def outcome(manifest: Manifest, kept: str, output: Location) -> str:
    """Account of the lines of the input: `score: 20 lines → 18 scored, 2 empty_text; 0:07 → out`."""
    counts = manifest.counts
    assert counts is not None
    accounts = ", ".join([kept, *(f"{n:,} {reason}" for reason, n in counts.rejected.items())])
    return f"{manifest.stage}: {counted(counts.lines, 'line')} → {accounts}; {where(manifest, output)}"


def broken_files(broken: Iterable[str]) -> list[str]:
    """Warning for each damaged file, from one sentence per file."""
    return [f"warning: {sentence}; the lines before that were read" for sentence in broken]
