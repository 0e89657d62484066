"""Dumps → data/{train,val,test}: token ids and labels, split without leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.cli import ConfigFile, DryRun, Inputs, Output, Overwrite, Sets, Strict, run, session
from jobs.plans import done_before, locations, outcome, print_plan, warn_of_broken

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.config import Config
    from pipeline.rundir.manifest import Manifest


def main(
    inputs: Inputs,
    output: Output,
    config: ConfigFile = None,
    sets: Sets = None,
    strict: Strict = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Read review dumps, split them, and encode them for training."""
    with session("prepare") as job:
        from pipeline.config import load_config

        run_stage(
            job,
            inputs,
            output,
            load_config(config, sets or (), input__strict=strict or None),
            dry_run,
            overwrite,
        )


def run_stage(
    job: Session, inputs: list[str], output: str, config: Config, dry_run: bool, overwrite: bool
) -> Manifest | None:
    """Run the prepare stage, or print its plan."""
    from pipeline.prepare import stage
    from pipeline.rundir.claim import State, check_output
    from pipeline.runtime.connect import check_shared, survey
    from pipeline.runtime.pools import plan_prepare

    plan = stage.plan(inputs, output, config)
    state = check_output(plan.output, plan.run, overwrite=overwrite)
    if dry_run:
        cluster = survey(config.cluster)
        pools = plan_prepare(cluster, len(plan.sources))
        shares = {"readers": pools.readers, "encoders": pools.encoders}
        print_plan(job, "prepare", plan.sources, cluster, shares, plan.output, state)
        return None
    if state is State.FINISHED:
        return done_before(job, "prepare", plan.output, config)
    cluster = job.connect(config)
    check_shared([plan.output, *locations(plan.sources)], cluster, config.cluster)
    manifest = stage.prepare(plan, cluster, job.reporter, overwrite=overwrite)
    counts = manifest.counts
    assert counts is not None
    warn_of_broken(job, manifest)
    splits = ", ".join(f"{n:,} {split}" for split, n in counts.splits.items())
    job.reporter.say(outcome(manifest, splits, plan.output))
    return manifest


if __name__ == "__main__":
    run(main)
