"""Dumps or data/test → scores/: label and probabilities of every review."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import run, session
from jobs.options import ConfigFile, DryRun, Inputs, Output, Overwrite, Sets, SkipUnknown, Strict
from jobs.run_stage import Stage, broken_files, outcome, run_stage

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.details import ScoreDetails
    from pipeline.rundir.manifest import Manifest
    from pipeline.runtime.pools import Cluster, Pool


def main(
    inputs: Inputs,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Output of jobs.train, or a classifier: a directory, URI or Hub name."
        ),
    ],
    output: Output,
    *,
    config: ConfigFile = None,
    sets: Sets = None,
    strict: Strict = False,
    skip_unknown: SkipUnknown = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend", help="Add new INPUTs to a finished output; everything else must be unchanged."
        ),
    ] = False,
) -> None:
    """Score review dumps, or a split of prepared data, with a trained model."""
    with session("score") as job:
        from pipeline.errors import SettingError
        from pipeline.score.inputs import is_split
        from pipeline.settings import load_config

        settings = load_config(
            config, sets or (), input__strict=strict or None, input__skip_unknown=skip_unknown or None
        )
        max_rows = settings.input.max_rows
        if max_rows is not None and is_split(inputs):
            raise SettingError(
                f"input.max_rows={max_rows} does not apply to {inputs[0]}, a split of prepared data;"
                " omit it, or score the dumps"
            )
        stage = plan_stage(inputs, model, output, settings, extend=extend)
        run_stage(job, stage, dry_run=dry_run, overwrite=overwrite)


def plan_stage(
    inputs: list[str], model: str, output: str, config: Config, *, extend: bool = False
) -> Stage[ScoreDetails]:
    """Plan of the score stage."""
    from pipeline.details import ScoreDetails
    from pipeline.runtime.pools import plan_score
    from pipeline.score.cost import describe_bill
    from pipeline.score.stage import plan, score

    job = plan(inputs, model, output, config, extend=extend)

    def pools(cluster: Cluster) -> dict[str, Pool]:
        shares = plan_score(cluster, len(job.sources), config.score.num_actors)
        return {name: getattr(shares, name) for name in ("readers", "encoders", "scorers", "writers")}

    def summary(manifest: Manifest[ScoreDetails]) -> list[str]:
        assert manifest.counts is not None
        bill = f"score: {describe_bill(manifest.details.bill)}"
        scored = f"{manifest.counts.rows:,} scored"
        return [*broken_files(manifest.details.broken), bill, outcome(manifest, scored, job.output)]

    work = partial(score, job, extend=extend)
    return Stage(
        job,
        ScoreDetails,
        work,
        pools,
        summary,
        sources=job.sources,
        skipped=job.skipped,
        directories={} if job.model.directory is None else {"model": job.model.directory},
        notes=[str(job.model)] if job.model.is_foreign else [],
        extend=extend,
    )


if __name__ == "__main__":
    run(main)
