"""Dumps or data/test → scores/: label and probabilities of every review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import ConfigFile, DryRun, Inputs, Output, Overwrite, Sets, Strict, run, session
from jobs.plans import done_before, locations, outcome, print_plan, warn_of_broken

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.config import Config
    from pipeline.rundir.manifest import Manifest


def main(
    inputs: Inputs,
    model: Annotated[str, typer.Option(metavar="DIR", help="Output of jobs.train.")],
    output: Output,
    config: ConfigFile = None,
    sets: Sets = None,
    strict: Strict = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Add INPUTs to a finished output, which has all others of them.")
    ] = False,
) -> None:
    """Score review dumps, or a split of prepared data, with a trained model."""
    with session("score") as job:
        from pipeline.config import load_config
        from pipeline.errors import SettingError
        from pipeline.score.stage import is_split

        settings = load_config(config, sets or (), input__strict=strict or None)
        most = settings.input.max_rows
        if most is not None and is_split(inputs):
            raise SettingError(
                f"input.max_rows={most} does not go with {inputs[0]}, a split of prepared data; leave it out,"
                " or score the dumps"
            )
        run_stage(job, inputs, model, output, settings, dry_run, overwrite, extend)


def run_stage(
    job: Session,
    inputs: list[str],
    model: str,
    output: str,
    config: Config,
    dry_run: bool,
    overwrite: bool,
    extend: bool = False,
) -> Manifest | None:
    """Run the score stage, or print its plan."""
    from pipeline.rundir.claim import State, check_output
    from pipeline.runtime.connect import check_shared, survey
    from pipeline.runtime.pools import plan_score
    from pipeline.score import stage
    from pipeline.score.cost import describe_bill

    plan = stage.plan(inputs, model, output, config, extend=extend)
    state = check_output(plan.output, plan.run, overwrite=overwrite, extend=extend)
    if dry_run:
        cluster = survey(config.cluster)
        pools = plan_score(cluster, len(plan.sources), config.score.num_actors)
        shares = {n: getattr(pools, n) for n in ("readers", "encoders", "scorers", "writers")}
        print_plan(job, "score", plan.sources, cluster, shares, plan.output, state)
        job.print(f"  model: {plan.model.uri}")
        return None
    if state is State.FINISHED:
        return done_before(job, "score", plan.output, config)
    cluster = job.connect(config)
    check_shared([plan.output, plan.model, *locations(plan.sources)], cluster, config.cluster)
    manifest = stage.score(plan, cluster, job.reporter, overwrite=overwrite, extend=extend)
    counts = manifest.counts
    assert counts is not None
    warn_of_broken(job, manifest)
    job.reporter.say(f"score: {describe_bill(manifest.details['bill'])}")
    job.reporter.say(outcome(manifest, f"{counts.rows:,} scored", plan.output))
    return manifest


if __name__ == "__main__":
    run(main)
