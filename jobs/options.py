"""Command-line options that several jobs share."""

from __future__ import annotations

from typing import Annotated

import typer

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT", help="Files, globs, directories or URIs (s3://, gs://, file://)."),
]
Output = Annotated[
    str,
    typer.Option(metavar="DIR", help="Output directory: new, empty, or with an earlier run of this command."),
]
ConfigFile = Annotated[
    str | None, typer.Option("--config", metavar="FILE.toml", help="Settings to start from.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change a setting, or several separated by commas; repeatable, the last value wins.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first rejected line or damaged file.")]
SkipUnknown = Annotated[
    bool,
    typer.Option("--skip-unknown", help="Leave out files that are not reviews, such as product metadata."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Delete the files of an earlier run of this job, then start over."),
]
