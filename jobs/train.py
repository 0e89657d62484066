"""data/ → model/: fine-tune a classifier on Ray Train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import ConfigFile, DryRun, Output, Overwrite, Sets, run, session
from jobs.plans import done_before, print_plan, where
from pipeline.humanize import counted

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.config import Config
    from pipeline.rundir.manifest import Manifest


def main(
    data: Annotated[str, typer.Option(metavar="DIR", help="Output of jobs.prepare.")],
    output: Output,
    model: Annotated[
        str | None, typer.Option(metavar="NAME_OR_PATH", help="Model to start from; else that of the data.")
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a BERT classifier on prepared reviews."""
    with session("train") as job:
        from pipeline.config import load_config

        run_stage(job, data, output, load_config(config, sets or (), model__name=model), dry_run, overwrite)


def run_stage(
    job: Session, data: str, output: str, config: Config, dry_run: bool, overwrite: bool
) -> Manifest | None:
    """Run the train stage, or print its plan."""
    from pipeline.rundir.claim import State, check_output
    from pipeline.runtime.connect import check_shared, survey
    from pipeline.runtime.pools import plan_train
    from pipeline.train import stage

    plan = stage.plan(data, output, config)
    state = check_output(plan.output, plan.run, overwrite=overwrite)
    if dry_run:
        cluster = survey(config.cluster)
        pool = plan_train(cluster, plan.config.train)
        print_plan(job, "train", [], cluster, {"workers": pool}, plan.output, state)
        rows = ", ".join(f"{plan.rows[s]:,} {s}" for s in ("train", "val"))
        job.print(f"  rows: {rows}\n  model: {plan.config.model.name}")
        return None
    if state is State.FINISHED:
        return done_before(job, "train", plan.output, config)
    cluster = job.connect(config)
    check_shared([plan.output, plan.data_location], cluster, config.cluster)
    manifest = stage.train(plan, cluster, job.reporter, overwrite=overwrite)
    details = manifest.details
    best = details["history"][details["best_epoch"]]
    done = where(manifest, plan.output)
    job.reporter.say(
        f"train: {counted(details['steps'], 'step')} in {details['precision']};"
        f" best epoch {details['best_epoch'] + 1}"
        f" (val loss {best['val_loss']:.4f}, accuracy {best['val_accuracy']:.4f}); {done}"
    )
    return manifest


if __name__ == "__main__":
    run(main)
