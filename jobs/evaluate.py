"""scores/ → report/: metrics, plots and a page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import run, session
from jobs.options import ConfigFile, DryRun, Output, Overwrite, Sets
from jobs.run_stage import Stage, run_stage
from pipeline.humanize import counted

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.config import Config
    from pipeline.details import EvaluateDetails
    from pipeline.metrics.schema import MetricsFile
    from pipeline.rundir.manifest import Manifest


def main(
    scores: Annotated[str, typer.Option(metavar="DIR", help="Output of jobs.score.")],
    output: Output,
    *,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare scores with the stars or labels of the reviews: metrics, ROC curves, a report."""
    with session("evaluate") as job:
        from pipeline.settings import load_config

        stage = plan_stage(scores, output, load_config(config, sets or ()))
        run_stage(job, stage, dry_run=dry_run, overwrite=overwrite)


def plan_stage(scores: str, output: str, config: Config) -> Stage[EvaluateDetails]:
    """Plan of the evaluate stage."""
    from pipeline.details import EvaluateDetails
    from pipeline.evaluate.stage import REPORT_FILE, ROC_FILE, evaluate, plan
    from pipeline.runtime.pools import plan_tasks

    job = plan(scores, output, config)

    def result(session: Session, manifest: Manifest[EvaluateDetails]) -> None:
        if manifest.details.label_map:
            mapped = ", ".join(f"{name} = {label}" for name, label in manifest.details.label_map.items())
            session.print(f"labels: {mapped}")
        _print_metrics(session, manifest.details.metrics)
        for name in (REPORT_FILE, ROC_FILE):
            session.print(f"{name}: {job.output.child(name).uri}")

    return Stage(
        job,
        EvaluateDetails,
        partial(evaluate, job),
        lambda cluster: {"readers": plan_tasks(cluster)},
        lambda _: [],
        directories={"scores": job.scores},
        notes=[f"parts: {len(job.parts):,}", *([f"labels: {job.labels}"] if job.mapped else [])],
        result=result,
    )


def _print_metrics(job: Session, metrics: MetricsFile) -> None:
    from rich.console import Console
    from rich.table import Table

    from pipeline.evaluate.report import metrics_table

    title = counted(metrics["rows"], "review")
    table = Table("", "model", f"always {metrics['majority']['label']}", title=title)
    for row in metrics_table(metrics):
        table.add_row(*row)
    Console(file=job.stdout, width=100 if not job.stdout.isatty() else None).print(table)


if __name__ == "__main__":
    run(main)
