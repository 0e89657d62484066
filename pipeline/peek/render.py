"""Report on files as text for a terminal, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from pipeline.humanize import counted, printable
from pipeline.peek.examine import FileReport
from pipeline.peek.facts import Facts, Review
from pipeline.peek.sampling import Estimate

_BAR = 30
_TEXT_CHARS = 300
_LABEL_CHARS = 10
_MAX_VALUES = 12
_MAX_SCRIPTS = 4


def render(report: FileReport, max_length: int) -> list[str]:
    """Lines of the report on a file."""
    if report.format is None:
        return [f"{report.uri}: {report.error}"]
    return [report.uri, *(f"  {line}" for line in _body(report, max_length))]


def _body(report: FileReport, max_length: int) -> Iterator[str]:
    yield _row("format", f"{report.format}; {report.compression}; {counted(report.size_bytes or 0, 'byte')}")
    if report.error is not None:
        yield _row("refused", report.error)
    if report.columns_used is not None:
        yield _row("read as", report.columns_used)
    yield from _columns(report)
    if report.rows is not None:
        yield _row("rows", _rows(report, report.rows))
        yield from _facts(report.facts, max_length, has_stars=report.has_stars)
    for warning in report.warnings:
        yield f"warning: {warning}"
    for review in report.facts.reviews:
        yield _row(f"line {review.line:,}", _review(review))


def _row(name: str, value: str) -> str:
    return f"{name:<{_LABEL_CHARS}} {value}"


def _columns(report: FileReport) -> Iterator[str]:
    width = max((len(c.name) for c in report.columns), default=0)
    for number, column in enumerate(report.columns):
        role = f"[{column.role}] " if column.role else ""
        examples = ", ".join(map(repr, column.examples)) or "no values"
        yield _row("" if number else "columns", f"{printable(column.name):<{width}}  {role}{examples}")


def _rows(report: FileReport, rows: Estimate) -> str:
    if report.whole:
        return f"{rows.rows:,}"
    where = "from several positions of the file" if report.spread else "from the beginning of the file"
    sample = f"sample: {counted(report.sampled_rows, 'row')} {where}"
    if rows.low == rows.high:
        return f"{rows.rows:,}; {sample}"
    return f"about {_rounded(rows.rows)} ({_rounded(rows.low)} to {_rounded(rows.high)}); {sample}"


def _rounded(number: int) -> str:
    """A number with three significant digits."""
    return f"{int(float(f'{number:.3g}')):,}"


def _facts(facts: Facts, max_length: int, *, has_stars: bool) -> Iterator[str]:
    if has_stars:
        yield from _stars(facts)
    if facts.token_quantiles:
        shown = ", ".join(f"{float(q):.0%} ≤ {n:,}" for q, n in facts.token_quantiles.items())
        cut = "" if facts.truncated_frac is None else f"; {facts.truncated_frac:.1%} exceed {max_length:,}"
        yield _row("tokens", f"{shown}{cut} and are cut" if cut else shown)
    if facts.rows:
        yield _row("repeated", f"{facts.repeated_frac:.1%} of the texts of the sample occur before")
        scripts = list(facts.scripts.items())[:_MAX_SCRIPTS]
        yield _row("scripts", ", ".join(f"{name} {share:.1%}" for name, share in scripts))
    for number, (reason, count) in enumerate(facts.rejected.items()):
        yield _row("" if number else "rejected", f"{count:,} {reason}; {facts.examples[reason]}")


def _stars(facts: Facts) -> Iterator[str]:
    counts, total = dict(list(facts.stars.items())[:_MAX_VALUES]), sum(facts.stars.values())
    width = max((len(value) for value in counts), default=0)
    for number, (value, count) in enumerate(counts.items()):
        bar = "█" * max(1, round(_BAR * count / max(counts.values())))
        yield _row("" if number else "stars", f"{value:>{width}} {bar:<{_BAR}} {count / total:6.1%}")


def _review(review: Review) -> str:
    stars = "" if review.stars is None else f"{counted(review.stars, 'star')}, "
    tokens = "" if review.num_tokens is None else f"{counted(review.num_tokens, 'token')}, "
    cut = "cut to the maximum length, " if review.truncated else ""
    about = f"{stars}{tokens}{cut}".removesuffix(", ")
    return f"{about}: {printable(review.text, _TEXT_CHARS, ellipsis='…')}".removeprefix(": ")


def next_command(reports: Sequence[FileReport], inputs: Sequence[str], given: Sequence[str]) -> str | None:
    """The command that reads the input: training data are prepared, unlabeled reviews are scored.

    Args:
        inputs: arguments of the command.
        given: texts of `--set` that were given.
    Returns:
        None if no file can be read.
    """
    readable = [report for report in reports if report.rows is not None]
    if not readable:
        return None
    settings: dict[str, str] = {}
    for report in readable:
        settings = report.settings | settings
    sets = [*given, *(f"{name}={value}" for name, value in settings.items())]
    options = [option for text in sets for option in ("--set", text)]
    if len(readable) < len(reports):
        options.append("--skip-unknown")
    if any(report.has_stars for report in readable):
        return shlex.join(["python", "-m", "jobs.prepare", *inputs, *options, "--output", "data"])
    return shlex.join(
        ["python", "-m", "jobs.score", *inputs, *options, "--model", "MODEL", "--output", "scores"]
    )
