"""The main job: prepare, train, score and evaluate, one after the other."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import ConfigFile, DryRun, Inputs, Output, Overwrite, Sets, run, session


def main(
    inputs: Inputs,
    output: Output,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_PATH", help="Model to start from: a Hub name or a directory."),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT", help="Dump to score and evaluate on, instead of the test split; repeatable."
        ),
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a classifier on review dumps, score what was held out, and report how good it is.

    Writes OUTPUT/{data,model,scores,report}. Stages that are finished are not done again.
    """
    with session("run") as job:
        from jobs import stages
        from pipeline.config import load_config

        settings = load_config(config, sets or (), model__name=model)
        stages.run_all(job, inputs, score or [], output, settings, dry_run, overwrite)


if __name__ == "__main__":
    run(main)
