"""Verify that a scores directory is complete and unchanged, and comes from a single run."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli import run, session


def main(
    scores: Annotated[str, typer.Argument(metavar="SCORES_DIR", help="Output of jobs.score.")],
) -> None:
    """Verify that a scores directory contains each line of its input exactly once, scored by one model.

    Reads only the parts and run.json. Prints the account of each file, and a line per fault: a part that is
    missing, duplicated, changed, from another run or unknown. Exit code 3 if there are faults.
    """
    with session("verify") as job:
        from pipeline.errors import AccountingError
        from pipeline.humanize import counted
        from pipeline.score.verify import verify
        from pipeline.storage.location import locate

        where = locate(scores)
        verdict = verify(where)
        for file in verdict.files:
            rejected = [f"{n:,} {reason}" for reason, n in file.rejected.most_common()]
            accounts = ", ".join([f"{file.rows:,} scored", *rejected])
            broken = f"; {file.broken}" if file.broken else ""
            job.print(f"{file.source}: {counted(file.lines, 'line')} → {accounts}{broken}")
        for name, text in verdict.faults.items():
            job.print(f"fault: {name}: {text}")
        if verdict.faults:
            raise AccountingError(f"{where.uri}: {counted(len(verdict.faults), 'fault')}; see above")
        job.reporter.say(
            f"verify: {counted(verdict.parts, 'part')} of model {verdict.run.model_fingerprint}, complete and"
            f" unchanged: {where.uri}"
        )


if __name__ == "__main__":
    run(main)
