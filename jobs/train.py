"""data/ → model/: fine-tune a classifier on Ray Train."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import ConfigFile, DryRun, Output, Overwrite, Sets, run, session


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
        from jobs import stages
        from pipeline.config import load_config

        stages.train(
            job, data, output, load_config(config, sets or (), model__name=model), dry_run, overwrite
        )


if __name__ == "__main__":
    run(main)
