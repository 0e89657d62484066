"""The data card: what the prepared data are like, as plain data, as a page, and as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime, timezone
from typing import TypeVar

import numpy as np

from pipeline import plotstyle
from pipeline.arrays import Float64Array, IntArray
from pipeline.config import Config
from pipeline.details import PrepareDetails
from pipeline.humanize import agree, counted
from pipeline.prepare.buckets import leak_frac
from pipeline.prepare.shuffle import Filled
from pipeline.prepare.split import SPLITS
from pipeline.rundir.manifest import Counts, OutputFile
from pipeline.storage.location import Location

Key = TypeVar("Key", bound=Hashable)

CARD_FILE = "card.md"
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_BARS = 40


def make_card(
    counts: Counts,
    filled: list[Filled],
    labels: tuple[str, ...],
    config: Config,
    formats: dict[str, str],
    broken: list[str],
    rows_without_key: int = 0,
) -> PrepareDetails:
    """Everything that the card says.

    Args:
        counts: of the whole stage.
        filled: the accounts of the buckets.
        labels: names of the classes, in order.
        formats: by the URI of each input file.
        broken: one sentence for each file that could not be read to its end.
        rows_without_key: rows, duplicates included, with no user or product where the split goes by that.
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
        formats=formats,
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
    """Lengths that so large a share of the rows do not exceed; exact, from counts of each length."""
    values = np.array(sorted(map(int, lengths)))
    rising = np.cumsum([lengths[str(v)] for v in values])
    index = np.searchsorted(rising, np.ceil(np.array(QUANTILES) * rising[-1]))
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
    """The page, in Markdown."""
    parts = [
        "# Data card",
        f"{counted(card.lines, 'line')}, {counted(card.rows, 'review')} kept"
        + (f", written {card.first_day} to {card.last_day}." if card.first_day else "."),
        *(f"**Not read to its end:** {sentence}" for sentence in card.broken),
        "## Splits and classes",
        _table(
            ("", *SPLITS, "all"),
            [
                *(_row(n, [card.rows_by_label[s][n] for s in SPLITS]) for n in card.rows_by_label["train"]),
                _row("all", [sum(card.rows_by_label[s].values()) for s in SPLITS]),
            ],
        ),
        *_warnings(card),
        "![Reviews by stars, or by class](card-stars.png)",
        "## Length",
        _table(
            ("share of the reviews", *(f"{float(q):.0%}" for q in card.length_quantiles)),
            [("have at most N tokens", *(f"{n:,}" for n in card.length_quantiles.values()))],
        ),
        _on_length(card),
        "![Reviews by length](card-lengths.png)",
        "## The same text more than once",
        _on_repeats(card),
        f"Had the reviews been split at random, {card.random_split_leak_frac:.1%} of the test rows would"
        " have had their text in the training rows.",
    ]
    if card.rejected:
        parts += [
            "## Lines that were not kept",
            _table(("reason", "lines"), [(reason, f"{n:,}") for reason, n in card.rejected.items()]),
            "Each is in `rejects/`, with its place in the dump.",
            "![Rejected lines by reason](card-rejects.png)",
        ]
    return "\n\n".join(parts) + "\n"


def _warnings(card: PrepareDetails) -> list[str]:
    """Where the splits are not quite what was asked for."""
    warnings = []
    keyless, apart = card.rows_without_key, card.texts_in_several_splits
    if keyless:
        warnings.append(
            f"**Warning:** the split goes by {card.split_by}, but {counted(keyless, 'review')}, repeated"
            f" ones included, {agree(keyless, 'has none; it went by its', 'have none; they went by their')}"
            " text."
        )
    if apart:
        warnings.append(
            f"**Warning:** {counted(apart, 'text')} {agree(apart, 'is', 'are')} in more than one split: the"
            f" split goes by {card.split_by}, and repeated texts were kept."
        )
    return warnings


def _on_length(card: PrepareDetails) -> str:
    reviews, tokens = card.truncated_rows, card.cut_tokens
    return (
        f"{counted(reviews, 'review')} ({card.truncated_frac:.2%}) {agree(reviews, 'is', 'are')} longer"
        f" than the {card.max_length} tokens that are kept of each; {counted(tokens, 'token')}"
        f" ({card.cut_tokens_frac:.2%}) {agree(tokens, 'was', 'were')} cut."
    )


def _on_repeats(card: PrepareDetails) -> str:
    repeated, conflicts = card.repeated_rows, card.texts_with_conflicting_stars
    return (
        f"{counted(card.texts, 'different text')}; {counted(repeated, 'review')}"
        f" {agree(repeated, 'repeats', 'repeat')} one that came before, one text"
        f" {counted(card.most_repeats, 'time')}. {counted(conflicts, 'text')} came with different stars or"
        " classes."
    )


def _row(name: str, counts: list[int]) -> tuple[str, ...]:
    return (name, *(f"{n:,}" for n in counts), f"{sum(counts):,}")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) + ("---:",) * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(map(_cell, cells)) + " |" for cells in lines)


def _cell(text: str) -> str:
    """Text of a cell, whatever a label holds."""
    # A backslash before the bar would take away the meaning of the one that is put there.
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def draw_stars(card: PrepareDetails) -> bytes:
    """Shares of the stars in each split, side by side; of the classes, where there are no stars."""
    starred = any(sum(counts.values()) for counts in card.rows_by_stars.values())
    what, rows = ("Stars", card.rows_by_stars) if starred else ("Classes", card.rows_by_label)
    note = f"{counted(card.rows, 'review')}; shares of a split"
    figure, axes = plotstyle.new_figure(f"{what} in each split", note)
    splits = [s for s in SPLITS if sum(rows[s].values())]
    names = list(rows[SPLITS[0]])
    lying = not plotstyle.tick_names_fit(names)
    width = 0.8 / max(1, len(splits))
    for index, (split, color) in enumerate(zip(splits, plotstyle.class_colors(3), strict=False)):
        counts = np.array(list(rows[split].values()))
        place = np.arange(len(names)) + (index - (len(splits) - 1) / 2) * width
        bars = axes.barh if lying else axes.bar
        bars(place, counts / counts.sum(), width * 0.92, color=color, label=f"{split}, {counts.sum():,}")
    by_name, by_share = (axes.yaxis, axes.xaxis) if lying else (axes.xaxis, axes.yaxis)
    plotstyle.set_tick_names(by_name, names)
    if lying:
        by_name.set_inverted(True)
    by_name.set_label_text(what)
    by_share.set_major_formatter(lambda share, _: f"{100 * share:.3g}%")
    axes.legend(frameon=False, labelcolor=plotstyle.INK)
    return plotstyle.to_png(figure)


def draw_lengths(card: PrepareDetails) -> bytes:
    """Reviews by number of tokens, and where they are cut."""
    median = card.length_quantiles.get("0.5", 0)
    note = f"the median is {median:,}; {card.truncated_frac:.1%} have more than the {card.max_length} kept"
    figure, axes = plotstyle.new_figure("Length of the reviews in tokens", note)
    lengths = np.array([int(n) for n in card.length_histogram])
    counts = np.array(list(card.length_histogram.values()))
    edges = _edges(lengths)
    heights, _ = np.histogram(lengths, edges, weights=counts)
    # By the token: bars of short lengths hold one or two whole numbers each, and would go up and down.
    heights = heights / np.diff(edges)
    axes.bar(edges[:-1], heights, np.diff(edges), align="edge", color=plotstyle.COLORS[4], edgecolor="white")
    axes.axvline(card.max_length, color=plotstyle.COLORS[0], linewidth=1.4)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("Tokens of a review, before the cut")
    axes.set_ylabel("Reviews of each length")
    return plotstyle.to_png(figure)


def _edges(lengths: IntArray) -> Float64Array:
    """Bounds of bars that look equally wide on a logarithmic axis, between whole numbers."""
    low, high = (int(lengths.min()), int(lengths.max())) if len(lengths) else (1, 2)
    edges = np.geomspace(max(1, low), high + 1, _BARS)
    return np.unique(np.floor(edges)) - 0.5


def draw_rejects(card: PrepareDetails) -> bytes:
    """Lines that were not kept, by reason."""
    rejected = card.rejected
    share = sum(rejected.values()) / card.lines
    figure, axes = plotstyle.new_figure(
        "Lines that were not kept", f"{sum(rejected.values()):,} of {card.lines:,} ({share:.2%})"
    )
    place = range(len(rejected))
    bars = axes.barh(place, list(rejected.values()), color=plotstyle.COLORS[4])
    axes.bar_label(bars, [f"{n:,}" for n in rejected.values()], padding=4, color=plotstyle.INK)
    axes.set_yticks(place, list(rejected))
    axes.set_ylim(max(5, len(rejected)) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("Lines")
    return plotstyle.to_png(figure)
