"""What review dumps contain, and the command that reads them; without Ray, in at most 20 seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli import run, session
from jobs.options import ConfigFile, Inputs, Sets

if TYPE_CHECKING:
    from pipeline.config import Config

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

        from pipeline.humanize import counted
        from pipeline.peek.examine import examine
        from pipeline.peek.render import next_command, render
        from pipeline.peek.sampling import SAMPLE_BYTES
        from pipeline.settings import load_config
        from pipeline.storage.expand import expand_inputs

        start = time.monotonic()
        settings = load_config(config, sets or (), model__name=model)
        files = expand_inputs(inputs)
        step = max(1, -(-len(files) // _MAX_FILES))
        chosen = files[::step]
        tokenizer, no_tokenizer = _tokenizer(settings)
        reports = []
        for number, file in enumerate(chosen):
            left_s = (start + _SECONDS - time.monotonic()) / (len(chosen) - number)
            deadline, max_bytes = time.monotonic() + left_s, SAMPLE_BYTES // len(chosen)
            reports.append(examine(file, settings, tokenizer, max_bytes=max_bytes, deadline=deadline))
            if not as_json:
                for line in render(reports[-1], settings.tokenize.max_length):
                    job.print(line)
                job.print()
        command = next_command(reports, inputs, sets or [])
        if as_json:
            data = {
                "files": [asdict(report) for report in reports],
                "total_files": len(files),
                "next": command,
                "seconds": round(time.monotonic() - start, 3),
            }
            job.print(json.dumps(data, ensure_ascii=False))
            return
        if no_tokenizer is not None:
            job.print(f"tokens were not counted: {no_tokenizer}")
        if len(chosen) < len(files):
            job.print(f"{counted(len(chosen), 'file')} of {len(files):,} examined")
        if command is not None:
            job.print(f"next: {command}")


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
