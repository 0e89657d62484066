"""Dumps → data/{train,val,test}: token ids and labels, split without leaks."""

from __future__ import annotations

from jobs.cli import ConfigFile, DryRun, Inputs, Output, Overwrite, Sets, run, session


def main(
    inputs: Inputs,
    output: Output,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
) -> None:
    """Read review dumps, split them, and encode them for training."""
    with session("prepare") as job:
        from jobs import stages
        from pipeline.config import load_config

        stages.prepare(job, inputs, output, load_config(config, sets or ()), dry_run, overwrite)


if __name__ == "__main__":
    run(main)
