"""What review dumps contain, and the command that reads them; without Ray, in at most 20 seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import run, session
from jobs.options import ConfigFile, Inputs, Sets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.config import Config
    from pipeline.errors import InputError
    from pipeline.peek.examine import FileReport
    from pipeline.storage.location import Location

_SECONDS = 12.0
"""Time for sampling, so that startup and the end fit into 20 seconds."""

_MAX_FILES = 8
"""Number of files that are examined; others of a large input are usually shards of the same dump."""


def main(
    inputs: Inputs,
    *,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_PATH", help="Model whose tokenizer counts the tokens."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    config: ConfigFile = None,
    sets: Sets = None,
) -> None:
    """Show format, columns, number of rows, stars, lengths and problems of review dumps.

    Reads a sample of each file and writes nothing.
    """
    with session("peek") as job:
        import json
        import time
        from dataclasses import asdict

        from pipeline.peek.render import next_command, render
        from pipeline.settings import load_config
        from pipeline.storage.expand import expand_inputs

        start = time.monotonic()
        settings = load_config(config, sets or (), model__name=model)
        files = expand_inputs(inputs)
        tokenizer, no_tokenizer = _tokenizer(settings)
        reports = []
        for report in _examine(files, settings, tokenizer, start + _SECONDS):
            reports.append(report)
            if not as_json and report.format is not None:
                job.print("\n".join([*render(report, settings.tokenize.max_length), ""]))
            elif not as_json and len(files) > 1:
                job.print(f"{report.uri}: {report.error}")
        command = next_command(reports, inputs, sets or [])
        if as_json:
            data = {
                "files": [asdict(report) for report in reports],
                "total_files": len(files),
                "next": command,
                "seconds": round(time.monotonic() - start, 3),
            }
            job.print(json.dumps(data, ensure_ascii=False))
        if command is None:
            raise _unreadable(reports)
        if as_json:
            return
        if no_tokenizer is not None:
            job.print(f"tokens were not counted: {no_tokenizer}")
        if len(reports) < len(files):
            job.print(f"examined {len(reports)} of {len(files):,} files")
        job.print(f"next: {command}")


def _examine(
    files: Sequence[Location], config: Config, tokenizer: str | None, deadline: float
) -> Iterator[FileReport]:
    """Reports on some of the files, which share the time until `deadline`, in time.monotonic()."""
    import time

    from pipeline.peek.examine import examine
    from pipeline.peek.sampling import SAMPLE_BYTES

    chosen = files[:: -(-len(files) // _MAX_FILES)]
    for number, file in enumerate(chosen):
        now = time.monotonic()
        until = now + (deadline - now) / (len(chosen) - number)
        yield examine(file, config, tokenizer, max_bytes=SAMPLE_BYTES // len(chosen), deadline=until)


def _unreadable(reports: Sequence[FileReport]) -> InputError:
    from pipeline.errors import InputError

    if len(reports) == 1:
        return InputError(f"{reports[0].uri}: {reports[0].error}")
    return InputError(f"none of the {len(reports)} files can be read; see above")


def _tokenizer(config: Config) -> tuple[str | None, str | None]:
    """Content of tokenizer.json of the model; or None, and why it cannot be had."""
    from pipeline.errors import RayviewError
    from pipeline.model.hub import resolve_model
    from pipeline.model.tokenizer import tokenizer_json

    try:
        return tokenizer_json(resolve_model(config.model.name)), None
    except RayviewError as error:
        return None, str(error)


if __name__ == "__main__":
    run(main)
