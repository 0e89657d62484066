"""Dumps or data/test → scores/: label and probabilities of every review."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import ConfigFile, DryRun, Inputs, Output, Overwrite, Sets, run, session


def main(
    inputs: Inputs,
    model: Annotated[str, typer.Option(metavar="DIR", help="Output of jobs.train.")],
    output: Output,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Score review dumps, or a split of prepared data, with a trained model."""
    with session("score") as job:
        from jobs import stages
        from pipeline.config import load_config

        stages.score(job, inputs, model, output, load_config(config, sets or ()), dry_run, overwrite)


if __name__ == "__main__":
    run(main)
