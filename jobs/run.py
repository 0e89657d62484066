"""The main job: prepare, train, score and evaluate in sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import run, session
from jobs.options import ConfigFile, DryRun, Inputs, Output, Overwrite, Sets, SkipUnknown, Strict

if TYPE_CHECKING:
    from jobs.cli import Session
    from pipeline.config import Config


def main(
    inputs: Inputs,
    output: Output,
    *,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_PATH", help="Model to start from: a Hub name or a directory."),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT", help="Dump to score and evaluate instead of the test split; repeatable."
        ),
    ] = None,
    no_train: Annotated[
        bool,
        typer.Option(
            "--no-train",
            help="Score INPUT with the classifier MODEL, and evaluate it: scores/ and report/ only.",
        ),
    ] = False,
    config: ConfigFile = None,
    sets: Sets = None,
    strict: Strict = False,
    skip_unknown: SkipUnknown = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a classifier on review dumps, score the held-out reviews, and report the quality.

    Writes OUTPUT/{data,model,scores,report}. Finished stages are skipped.
    """
    with session("run") as job:
        from pipeline.errors import SettingError
        from pipeline.settings import load_config

        options = {"input__strict": strict or None, "input__skip_unknown": skip_unknown or None}
        if no_train:
            if model is None or score:
                raise SettingError(
                    "--no-train scores INPUT with --model NAME; name a model, and omit --score"
                )
            settings = load_config(config, sets or (), **options)
            run_without_training(job, inputs, model, output, settings, dry_run=dry_run, overwrite=overwrite)
            return
        settings = load_config(config, sets or (), model__name=model, **options)
        if settings.labels.map is not None:
            raise SettingError("labels.map is for models that jobs.train did not write; use --no-train")
        run_all(job, inputs, score or [], output, settings, dry_run=dry_run, overwrite=overwrite)


def run_all(
    job: Session,
    inputs: list[str],
    score_inputs: list[str],
    output: str,
    config: Config,
    *,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Run all stages into OUTPUT/{data,model,scores,report}, or print the plans.

    Args:
        score_inputs: dumps to score; empty: the test split.
    """
    from jobs import evaluate, prepare, score, train
    from jobs.run_stage import run_stage
    from pipeline.runtime.connect import survey
    from pipeline.runtime.pools import plan_train
    from pipeline.score.inputs import find_input, is_split
    from pipeline.storage.expand import expand_inputs
    from pipeline.storage.location import locate

    base = locate(output)
    outputs = [base.child(n) for n in ("data", "model", "scores", "report")]
    data, model, scores, report = (o.uri for o in outputs)
    # Each stage excludes only its own output, but the outputs of other stages are not dumps, either.
    inputs = [f.uri for f in expand_inputs(inputs, outputs)]
    # Errors in the inputs of the third stage must be reported before hours of training.
    scored = find_input(score_inputs, config.input, outputs).sources if score_inputs else []
    if not is_split(score_inputs):
        score_inputs = [source.uri for source in scored]
    run_stage(job, prepare.plan_stage(inputs, data, config), dry_run=dry_run, overwrite=overwrite)
    if dry_run:
        job.print(f"then train on {plan_train(survey(config.cluster), config.train)} → {model}")
        job.print(f"then score {', '.join(s.uri for s in scored) or 'the test split'} → {scores}")
        job.print(f"then evaluate → {report}")
        return
    run_stage(job, train.plan_stage(data, model, config), dry_run=False, overwrite=overwrite)
    score_inputs = score_inputs or [base.child("data/test").uri]
    scoring = score.plan_stage(score_inputs, model, scores, config)
    run_stage(job, scoring, dry_run=False, overwrite=overwrite)
    run_stage(job, evaluate.plan_stage(scores, report, config), dry_run=False, overwrite=overwrite)


def run_without_training(
    job: Session,
    inputs: list[str],
    model: str,
    output: str,
    config: Config,
    *,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Score dumps with a classifier and evaluate it, into OUTPUT/{scores,report}, or print the plan."""
    from jobs import evaluate, score
    from jobs.run_stage import run_stage
    from pipeline.evaluate.stage import classes_of
    from pipeline.model.classifier import find_classifier
    from pipeline.storage.location import locate

    # Unclear labels must be reported before hours of scoring.
    found = find_classifier(model, config)
    classes_of(found.name, found.card.labels, found.card.scheme, found.card.problem, config)
    scores, report = (locate(output).child(name).uri for name in ("scores", "report"))
    scoring = score.plan_stage(inputs, model, scores, config)
    run_stage(job, scoring, dry_run=dry_run, overwrite=overwrite)
    if dry_run:
        job.print(f"then evaluate → {report}")
        return
    run_stage(job, evaluate.plan_stage(scores, report, config), dry_run=False, overwrite=overwrite)


if __name__ == "__main__":
    run(main)
