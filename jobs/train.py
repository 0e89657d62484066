"""data/ → model/: fine-tune a classifier on Ray Train."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import run, session
from jobs.options import ConfigFile, DryRun, Output, Overwrite, Sets
from jobs.run_stage import Stage, run_stage, where
from pipeline.humanize import counted

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.details import TrainDetails
    from pipeline.rundir.manifest import Manifest


def main(
    data: Annotated[str, typer.Option(metavar="DIR", help="Output of jobs.prepare.")],
    output: Output,
    *,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_PATH", help="Model to start from; by default the setting model.name."),
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a BERT classifier on prepared reviews."""
    with session("train") as job:
        from pipeline.settings import load_config

        settings = load_config(config, sets or (), model__name=model)
        run_stage(job, plan_stage(data, output, settings), dry_run=dry_run, overwrite=overwrite)


def plan_stage(data: str, output: str, config: Config) -> Stage[TrainDetails]:
    """Plan of the train stage."""
    from pipeline.details import TrainDetails
    from pipeline.runtime.pools import plan_train
    from pipeline.train.stage import plan, train

    job = plan(data, output, config)

    def summary(manifest: Manifest[TrainDetails]) -> list[str]:
        details = manifest.details
        best = details.best
        return [
            f"train: {counted(details.steps, 'step')} in {details.precision};"
            f" best epoch {details.best_epoch + 1}"
            f" (val loss {best.val_loss:.4f}, accuracy {best.val_accuracy:.4f});"
            f" {where(manifest, job.output)}"
        ]

    rows = ", ".join(f"{job.rows[split]:,} {split}" for split in ("train", "val"))
    return Stage(
        job,
        TrainDetails,
        partial(train, job),
        lambda cluster: {"workers": plan_train(cluster, config.train)},
        summary,
        directories={"data": job.data_location},
        notes=[f"rows: {rows}", f"model: {config.model.name}"],
    )


if __name__ == "__main__":
    run(main)
