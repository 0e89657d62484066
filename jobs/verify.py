"""Prove a scores directory complete, unmixed and unchanged."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import run, session


def main(
    scores: Annotated[str, typer.Argument(metavar="SCORES_DIR", help="Output of jobs.score.")],
) -> None:
    """Prove from its parts alone that a scores directory holds each line of its input once, of one model.

    Prints what became of the lines of each file. Exit code 3 if anything is missing, doubled, changed, of
    another run, or none of its own; each fault gets a line.
    """
    with session("verify") as job:
        from pipeline.errors import AccountingError
        from pipeline.humanize import counted
        from pipeline.score.verify import verify
        from pipeline.storage.location import locate

        where = locate(scores)
        verdict = verify(where)
        for file in verdict.files:
            ways = [
                f"{file.rows:,} scored",
                *(f"{n:,} {reason}" for reason, n in file.rejected.most_common()),
            ]
            broken = f"; {file.broken}" if file.broken else ""
            job.print(f"{file.source}: {counted(file.lines, 'line')} → {', '.join(ways)}{broken}")
        for name, text in verdict.faults.items():
            job.print(f"fault: {name}: {text}")
        if verdict.faults:
            raise AccountingError(f"{where.uri}: {counted(len(verdict.faults), 'fault')}; see above")
        job.reporter.say(
            f"verify: {counted(verdict.parts, 'part')} of model {verdict.run.model_fingerprint}, whole and"
            f" unchanged: {where.uri}"
        )


if __name__ == "__main__":
    run(main)
