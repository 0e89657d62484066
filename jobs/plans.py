"""How a job shows its plan and its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.humanize import counted
from pipeline.progress import format_s

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.config import Config
    from pipeline.ingest.detect.sources import Source
    from pipeline.rundir.claim import State
    from pipeline.rundir.manifest import Manifest
    from pipeline.runtime.pools import Cluster, Pool
    from pipeline.storage.location import Location


def print_plan(
    job: Session,
    stage: str,
    sources: list[Source],
    cluster: Cluster,
    shares: dict[str, Pool],
    output: Location,
    state: State,
) -> None:
    """Print what a stage would read, run on and write."""
    job.print(f"{stage}: would run on {cluster}")
    for source in sources:
        job.print(f"  input: {source.uri} ({counted(source.size_bytes, 'byte')}, {source.format_name})")
    for name, pool in shares.items():
        job.print(f"  {name}: {pool}")
    there = "" if state.value == "fresh" else f" ({state.value})"
    job.print(f"  output: {output.uri}{there}")


def done_before(job: Session, stage: str, output: Location, config: Config) -> Manifest:
    """Say that there is nothing to do; returns the manifest of when it was done.

    Raises:
        ErrorBudgetError: as many lines were rejected then as may not be now.
    """
    from pipeline.ingest.ledger import check_finished
    from pipeline.rundir.manifest import read_manifest

    manifest = read_manifest(output, stage)
    check_finished(manifest, config.input.max_rejected_frac, strict=config.input.strict)
    job.reporter.say(f"{stage}: already done → {output.uri}")
    return manifest


def outcome(manifest: Manifest, kept: str, output: Location) -> str:
    """What became of the lines of a dump: `score: 20 lines → 18 scored, 2 empty_text; 0:07 → out`."""
    counts = manifest.counts
    assert counts is not None
    ways = ", ".join([kept, *(f"{n:,} {reason}" for reason, n in counts.rejected.items())])
    return f"{manifest.stage}: {counted(counts.lines, 'line')} → {ways}; {where(manifest, output)}"


def warn_of_broken(job: Session, manifest: Manifest) -> None:
    """Name the files that could not be read to their end."""
    for sentence in manifest.details["broken"]:
        job.reporter.say(f"warning: {sentence}; what came before it was read")


def where(manifest: Manifest, output: Location) -> str:
    """How long it took, and where the output is."""
    return f"{format_s(manifest.seconds)} → {output.uri}"


def locations(sources: list[Source]) -> list[Location]:
    """Of the input files."""
    from pipeline.storage.location import locate

    return [locate(s.uri) for s in sources]
