"""scores/ → report/: metrics, plots and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli import ConfigFile, DryRun, Output, Overwrite, Sets, run, session
from jobs.plans import done_before, print_plan

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.config import Config
    from pipeline.rundir.manifest import Manifest


def main(
    scores: Annotated[str, typer.Option(metavar="DIR", help="Output of jobs.score.")],
    output: Output,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Compare scores with what the reviews say themselves: metrics, ROC curves, a report."""
    with session("evaluate") as job:
        from pipeline.config import load_config

        run_stage(job, scores, output, load_config(config, sets or ()), dry_run, overwrite)


def run_stage(
    job: Session, scores: str, output: str, config: Config, dry_run: bool, overwrite: bool
) -> Manifest | None:
    """Run the evaluate stage and print its table, or print its plan."""
    from pipeline.evaluate import stage
    from pipeline.rundir.claim import State, check_output
    from pipeline.runtime.connect import check_shared, survey
    from pipeline.runtime.pools import plan_tasks

    plan = stage.plan(scores, output, config)
    state = check_output(plan.output, plan.run, overwrite=overwrite)
    if dry_run:
        cluster = survey(config.cluster)
        shares = {"readers": plan_tasks(cluster)}
        print_plan(job, "evaluate", [], cluster, shares, plan.output, state)
        job.print(f"  scores: {plan.scores.uri} ({len(plan.parts)} parts)")
        return None
    if state is State.FINISHED:
        manifest = done_before(job, "evaluate", plan.output, config)
    else:
        cluster = job.connect(config)
        check_shared([plan.output, plan.scores], cluster, config.cluster)
        manifest = stage.evaluate(plan, cluster, job.reporter, overwrite=overwrite)
    _print_metrics(job, manifest.details["metrics"])
    for name in (stage.REPORT_FILE, stage.ROC_FILE):
        job.print(f"{name}: {plan.output.child(name).uri}")
    return manifest


def _print_metrics(job: Session, metrics: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from pipeline.evaluate.report import metrics_table
    from pipeline.humanize import counted

    title = counted(metrics["rows"], "review")
    table = Table("", "model", f"always {metrics['majority']['label']}", title=title)
    for row in metrics_table(metrics):
        table.add_row(*row)
    Console(file=job.stdout, width=100 if not job.stdout.isatty() else None).print(table)


if __name__ == "__main__":
    run(main)
