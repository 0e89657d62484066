"""One function a stage: plan it, print the plan or run it, say what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline import resources
from pipeline.evaluate import stage as evaluate_stage
from pipeline.prepare import stage as prepare_stage
from pipeline.progress import format_s
from pipeline.score import stage as score_stage
from pipeline.train import stage as train_stage

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.config import Config
    from pipeline.ingest.dataset import Source
    from pipeline.manifest import Manifest
    from pipeline.storage import Location


def prepare(
    job: Session, inputs: list[str], output: str, config: Config, dry_run: bool, overwrite: bool
) -> Manifest | None:
    """Run the prepare stage, or print its plan."""
    plan = prepare_stage.plan(inputs, output, config)
    if dry_run:
        cluster = resources.survey(config.cluster)
        pools = resources.plan_prepare(cluster, len(plan.sources))
        shares = {"readers": pools.readers, "encoders": pools.encoders}
        _print_plan(job, "prepare", plan.sources, cluster, shares, plan.output)
        return None
    cluster = job.connect(config)
    resources.check_shared([plan.output, *_locations(plan.sources)], cluster, config.cluster)
    manifest = prepare_stage.prepare(plan, cluster, job.reporter, overwrite=overwrite)
    counts = manifest.counts
    assert counts is not None
    splits = ", ".join(f"{n:,} {split}" for split, n in counts.splits.items())
    job.reporter.say(
        f"prepare: {counts.lines:,} lines → {splits}{_rejected(manifest)}; {_where(manifest, plan.output)}"
    )
    return manifest


def train(
    job: Session, data: str, output: str, config: Config, dry_run: bool, overwrite: bool
) -> Manifest | None:
    """Run the train stage, or print its plan."""
    plan = train_stage.plan(data, output, config)
    if dry_run:
        cluster = resources.survey(config.cluster)
        pool = resources.plan_train(cluster, plan.config.train)
        _print_plan(job, "train", [], cluster, {"workers": pool}, plan.output)
        rows = ", ".join(f"{plan.rows[s]:,} {s}" for s in ("train", "val"))
        job.print(f"  rows: {rows}\n  model: {plan.config.model.name}")
        return None
    cluster = job.connect(config)
    resources.check_shared([plan.output, plan.data_location], cluster, config.cluster)
    manifest = train_stage.train(plan, cluster, job.reporter, overwrite=overwrite)
    details = manifest.details
    best = details["history"][details["best_epoch"]]
    done = _where(manifest, plan.output)
    job.reporter.say(
        f"train: {details['steps']:,} steps in {details['precision']}; best epoch {details['best_epoch'] + 1}"
        f" (val loss {best['val_loss']:.4f}, accuracy {best['val_accuracy']:.4f}); {done}"
    )
    return manifest


def score(
    job: Session, inputs: list[str], model: str, output: str, config: Config, dry_run: bool, overwrite: bool
) -> Manifest | None:
    """Run the score stage, or print its plan."""
    plan = score_stage.plan(inputs, model, output, config)
    if dry_run:
        cluster = resources.survey(config.cluster)
        pools = resources.plan_score(cluster, len(plan.sources), config.score.num_actors)
        shares = {n: getattr(pools, n) for n in ("readers", "encoders", "scorers", "writers")}
        _print_plan(job, "score", plan.sources, cluster, shares, plan.output)
        job.print(f"  model: {plan.model.uri}")
        return None
    cluster = job.connect(config)
    resources.check_shared([plan.output, plan.model, *_locations(plan.sources)], cluster, config.cluster)
    manifest = score_stage.score(plan, cluster, job.reporter, overwrite=overwrite)
    counts = manifest.counts
    assert counts is not None
    done = _where(manifest, plan.output)
    job.reporter.say(f"score: {counts.lines:,} lines → {counts.rows:,} scored{_rejected(manifest)}; {done}")
    return manifest


def evaluate(
    job: Session, scores: str, output: str, config: Config, dry_run: bool, overwrite: bool
) -> Manifest | None:
    """Run the evaluate stage and print its table, or print its plan."""
    plan = evaluate_stage.plan(scores, output, config)
    if dry_run:
        cluster = resources.survey(config.cluster)
        _print_plan(job, "evaluate", [], cluster, {"readers": resources.plan_evaluate(cluster)}, plan.output)
        job.print(f"  scores: {plan.scores.uri} ({len(plan.parts)} parts)")
        return None
    cluster = job.connect(config)
    resources.check_shared([plan.output, plan.scores], cluster, config.cluster)
    manifest = evaluate_stage.evaluate(plan, cluster, job.reporter, overwrite=overwrite)
    _print_metrics(job, manifest.details["metrics"])
    for name in (evaluate_stage.REPORT_FILE, evaluate_stage.ROC_FILE):
        job.print(f"{name}: {plan.output.child(name).uri}")
    return manifest


def _print_metrics(job: Session, metrics: dict[str, Any]) -> None:
    from pipeline.evaluate.report import metrics_table
    from rich.console import Console
    from rich.table import Table

    table = Table("", "model", f"always {metrics['majority']['label']}", title=f"{metrics['rows']:,} reviews")
    for row in metrics_table(metrics):
        table.add_row(*row)
    Console(file=job.stdout, width=100 if not job.stdout.isatty() else None).print(table)


def _print_plan(
    job: Session,
    stage: str,
    sources: list[Source],
    cluster: resources.Cluster,
    shares: dict[str, resources.Pool],
    output: Location,
) -> None:
    job.print(f"{stage}: would run on {cluster}")
    for source in sources:
        form = source.form if isinstance(source.form, str) else source.form.name
        job.print(f"  input: {source.uri} ({source.size_bytes:,} bytes, {form})")
    for name, pool in shares.items():
        job.print(f"  {name}: {pool}")
    job.print(f"  output: {output.uri}")


def _rejected(manifest: Manifest) -> str:
    rejected = manifest.counts.rejected if manifest.counts else {}
    return "".join(f", {n:,} {reason}" for reason, n in rejected.items())


def _where(manifest: Manifest, output: Location) -> str:
    return f"{format_s(manifest.seconds)} → {output.uri}"


def _locations(sources: list[Source]) -> list[Location]:
    from pipeline.storage import locate

    return [locate(s.uri) for s in sources]


def run_all(
    job: Session,
    inputs: list[str],
    score_inputs: list[str],
    output: str,
    config: Config,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Run all stages into OUTPUT/{data,model,scores,report}, or print the plan of those that can be planned.

    Args:
        score_inputs: dumps to score; none: the test split.
    """
    base = output.rstrip("/")
    data, model, scores, report = (f"{base}/{name}" for name in ("data", "model", "scores", "report"))
    if dry_run:
        prepare(job, inputs, data, config, True, overwrite)
        cluster = resources.survey(config.cluster)
        job.print(f"then train on {resources.plan_train(cluster, config.train)} → {model}")
        job.print(f"then score {', '.join(score_inputs) or 'the test split'} → {scores}")
        job.print(f"then evaluate → {report}")
        return
    # A mistake in what is scored last should show before hours of training.
    if score_inputs:
        score_stage.find_input(score_inputs, config.input)
    prepare(job, inputs, data, config, False, overwrite)
    train(job, data, model, config, False, overwrite)
    score(job, score_inputs or [f"{data}/test"], model, scores, config, False, overwrite)
    evaluate(job, scores, report, config, False, overwrite)
