"""Dumps → data/{train,val,test}: token IDs and labels, split without leaks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from jobs.cli import run, session
from jobs.options import ConfigFile, DryRun, Inputs, Output, Overwrite, Sets, SkipUnknown, Strict
from jobs.run_stage import Stage, broken_files, outcome, run_stage

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.details import PrepareDetails
    from pipeline.rundir.manifest import Manifest
    from pipeline.runtime.pools import Cluster, Pool


def main(
    inputs: Inputs,
    output: Output,
    *,
    config: ConfigFile = None,
    sets: Sets = None,
    strict: Strict = False,
    skip_unknown: SkipUnknown = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Read review dumps, split them, and encode them for training."""
    with session("prepare") as job:
        from pipeline.settings import load_config

        settings = load_config(
            config, sets or (), input__strict=strict or None, input__skip_unknown=skip_unknown or None
        )
        run_stage(job, plan_stage(inputs, output, settings), dry_run=dry_run, overwrite=overwrite)


def plan_stage(inputs: list[str], output: str, config: Config) -> Stage[PrepareDetails]:
    """Plan of the prepare stage."""
    from pipeline.details import PrepareDetails
    from pipeline.prepare.stage import plan, prepare
    from pipeline.runtime.pools import plan_prepare

    job = plan(inputs, output, config)

    def pools(cluster: Cluster) -> dict[str, Pool]:
        shares = plan_prepare(cluster, len(job.sources))
        return {"readers": shares.readers, "encoders": shares.encoders}

    def summary(manifest: Manifest[PrepareDetails]) -> list[str]:
        assert manifest.counts is not None
        rows = ", ".join(f"{n:,} {split}" for split, n in manifest.counts.splits.items())
        return [*broken_files(manifest.details.broken), outcome(manifest, rows, job.output)]

    return Stage(
        job, PrepareDetails, partial(prepare, job), pools, summary, sources=job.sources, skipped=job.skipped
    )


if __name__ == "__main__":
    run(main)
