"""The data card: a summary of the prepared data, as plain data and as a Markdown page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime, timezone
from typing import TypeVar

import numpy as np

from pipeline.config import Config
from pipeline.details import PrepareDetails
from pipeline.humanize import agree, counted
from pipeline.ingest.detect.report import columns_by_uri, warnings_of
from pipeline.ingest.detect.sources import Source
from pipeline.prepare.buckets import leak_frac
from pipeline.prepare.card_plots import draw_lengths, draw_rejects, draw_stars
from pipeline.prepare.shuffle import Filled
from pipeline.prepare.split import SPLITS
from pipeline.rundir.manifest import Counts, OutputFile
from pipeline.scale import DEFAULT_SCALE
from pipeline.storage.location import Location

Key = TypeVar("Key", bound=Hashable)

CARD_FILE = "card.md"
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


def make_card(
    counts: Counts,
    filled: list[Filled],
    labels: tuple[str, ...],
    config: Config,
    sources: list[Source],
    skipped: list[str],
    broken: list[str],
    rows_without_key: int = 0,
) -> PrepareDetails:
    """Content of the card.

    Args:
        counts: counts of the whole stage.
        filled: accounts of the buckets.
        labels: names of the classes, in order.
        sources: the input files.
        skipped: one sentence per file that was left out.
        broken: one sentence per file that could not be read to its end.
        rows_without_key: number of rows without the user or product by which they are split, duplicates
            included.
    """
    summaries = [bucket.summary for bucket in filled]
    lengths = _add(s.lengths for s in summaries)
    tokens = sum(s.num_tokens for s in summaries)
    cut = sum(s.cut_tokens for s in summaries)
    truncated = sum(s.truncated for s in summaries)
    groups = _add(b.groups for b in filled)
    times = [ms for s in summaries for ms in (s.first_ms, s.last_ms) if ms is not None]
    return PrepareDetails(
        labels=list(labels),
        scale=str(config.labels.rating_scale()),
        formats={s.uri: s.format_name for s in sources},
        columns=columns_by_uri(sources),
        warnings=warnings_of(sources, skipped),
        lines=counts.lines,
        rows=counts.rows,
        rejected=counts.rejected,
        rows_by_label={
            split: {name: _add(s.classes[split] for s in summaries)[str(i)] for i, name in enumerate(labels)}
            for split in SPLITS
        },
        rows_by_stars={
            split: {str(n): _add(s.stars[split] for s in summaries)[str(n)] for n in range(1, 6)}
            for split in SPLITS
        },
        tokens=tokens,
        length_quantiles=_quantiles(lengths) if lengths else {},
        length_histogram={str(n): lengths[str(n)] for n in sorted(map(int, lengths))},
        max_length=config.tokenize.max_length,
        truncated_rows=truncated,
        truncated_frac=truncated / counts.rows if counts.rows else 0.0,
        cut_tokens=cut,
        cut_tokens_frac=cut / (tokens + cut) if tokens else 0.0,
        texts=sum(groups.values()),
        repeated_rows=sum(size * n for size, n in groups.items()) - sum(groups.values()),
        most_repeats=max(groups, default=0),
        texts_with_conflicting_stars=sum(b.conflicts for b in filled),
        texts_in_several_splits=sum(s.texts_apart for s in summaries),
        random_split_leak_frac=leak_frac(groups, config.split.train_frac),
        first_day=_day(min(times)) if times else None,
        last_day=_day(max(times)) if times else None,
        split_by=config.split.by,
        rows_without_key=rows_without_key,
        broken=broken,
    )


def _add(counts: Iterable[Mapping[Key, int]]) -> Counter[Key]:
    total: Counter[Key] = Counter()
    for part in counts:
        total.update(part)
    return total


def _quantiles(lengths: Counter[str]) -> dict[str, int]:
    """Exact quantiles of the length, from the number of rows of each length."""
    values = np.array(sorted(map(int, lengths)))
    cumulative = np.cumsum([lengths[str(v)] for v in values])
    index = np.searchsorted(cumulative, np.ceil(np.array(QUANTILES) * cumulative[-1]))
    return {f"{q:g}": int(values[i]) for q, i in zip(QUANTILES, index, strict=True)}


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, timezone.utc).date().isoformat()


def write_card(output: Location, card: PrepareDetails) -> list[OutputFile]:
    """Write the page and its pictures below `output`."""
    files = {
        "card-stars.png": draw_stars(card),
        "card-lengths.png": draw_lengths(card),
        CARD_FILE: render_card(card).encode(),
    }
    if card.rejected:
        files["card-rejects.png"] = draw_rejects(card)
    for name, data in files.items():
        output.child(name).write_bytes(data)
    return [OutputFile(path=name, bytes=len(data)) for name, data in sorted(files.items())]


def render_card(card: PrepareDetails) -> str:
    """The card as a Markdown page."""
    parts = [
        "# Data card",
        f"{counted(card.lines, 'line')}, {counted(card.rows, 'review')} kept"
        + (f", written {card.first_day} to {card.last_day}." if card.first_day else "."),
        *(f"**Incomplete input:** {sentence}" for sentence in card.broken),
        "## Splits and classes",
        _table(
            ("", *SPLITS, "all"),
            [
                *(_row(n, [card.rows_by_label[s][n] for s in SPLITS]) for n in card.rows_by_label["train"]),
                _row("all", [sum(card.rows_by_label[s].values()) for s in SPLITS]),
            ],
        ),
        *_on_scale(card),
        *_warnings(card),
        "![Reviews by stars, or by class](card-stars.png)",
        "## Length",
        _table(
            ("share of the reviews", *(f"{float(q):.0%}" for q in card.length_quantiles)),
            [("have at most N tokens", *(f"{n:,}" for n in card.length_quantiles.values()))],
        ),
        _on_length(card),
        "![Reviews by length](card-lengths.png)",
        "## Repeated texts",
        _on_repeats(card),
        f"With a random split, {card.random_split_leak_frac:.1%} of the test rows would have their text in"
        " the training rows as well.",
    ]
    if card.rejected:
        parts += [
            "## Rejected lines",
            _table(("reason", "lines"), [(reason, f"{n:,}") for reason, n in card.rejected.items()]),
            "`rejects/` has each of them, with its position in the dump.",
            "![Rejected lines by reason](card-rejects.png)",
        ]
    return "\n\n".join(parts) + "\n"


def _on_scale(card: PrepareDetails) -> list[str]:
    if card.scale == str(DEFAULT_SCALE):
        return []
    return [f"Ratings on the scale {card.scale} are mapped to 1 to 5 stars."]


def _warnings(card: PrepareDetails) -> list[str]:
    """Warnings about rows that the splits treat differently than configured."""
    warnings = []
    keyless, apart = card.rows_without_key, card.texts_in_several_splits
    if keyless:
        warnings.append(
            f"**Warning:** the split is by {card.split_by}; {counted(keyless, 'review')} without one,"
            f" repeated ones included, {agree(keyless, 'is', 'are')} split by text."
        )
    if apart:
        warnings.append(
            f"**Warning:** {counted(apart, 'text')} {agree(apart, 'is', 'are')} in more than one split: the"
            f" split is by {card.split_by}, and repeated texts are kept."
        )
    return warnings


def _on_length(card: PrepareDetails) -> str:
    reviews, tokens = card.truncated_rows, card.cut_tokens
    return (
        f"{counted(reviews, 'review')} ({card.truncated_frac:.2%}) {agree(reviews, 'is', 'are')} longer"
        f" than tokenize.max_length={card.max_length}; {counted(tokens, 'token')}"
        f" ({card.cut_tokens_frac:.2%}) {agree(tokens, 'was', 'were')} cut."
    )


def _on_repeats(card: PrepareDetails) -> str:
    repeated, conflicts = card.repeated_rows, card.texts_with_conflicting_stars
    return (
        f"{counted(card.texts, 'distinct text')}; {counted(repeated, 'review')}"
        f" {agree(repeated, 'repeats', 'repeat')} an earlier one, and the most frequent text occurs"
        f" {counted(card.most_repeats, 'time')}. {counted(conflicts, 'text')}"
        f" {agree(conflicts, 'has', 'have')} different stars or classes."
    )


def _row(name: str, counts: list[int]) -> tuple[str, ...]:
    return (name, *(f"{n:,}" for n in counts), f"{sum(counts):,}")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) + ("---:",) * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(_cell, cells)) + " |" for cells in lines)


def _cell(text: str) -> str:
    """Escaped text of a cell; a label may contain any character."""
    # A backslash in the label would undo the escape of the bar that follows it.
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
