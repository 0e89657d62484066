"""scores/ → report/: metrics, plots and a page."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import ConfigFile, DryRun, Output, Overwrite, Sets, run, session


def main(
    scores: Annotated[str, typer.Option(metavar="DIR", help="Output of jobs.score.")],
    output: Output,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare scores with the stars of the reviews: metrics, ROC curves, a report."""
    with session("evaluate") as job:
        from jobs import stages
        from pipeline.config import load_config

        stages.evaluate(job, scores, output, load_config(config, sets or ()), dry_run, overwrite)


if __name__ == "__main__":
    run(main)
