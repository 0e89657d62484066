"""Facts about the rows of a sample: stars, lengths, repeated texts, scripts, rejected records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.arrays import IntArray
from pipeline.humanize import printable
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.clean.text import text_hash
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.parse.rejects import RejectedLine
from pipeline.ingest.read.chunks import Chunk
from pipeline.ingest.tokenize.encode import load_encoder
from pipeline.peek.scripts import script_shares

QUANTILES = (0.05, 0.5, 0.95, 0.99)
_SCRIPT_ROWS = 5000
_SHOWN_REVIEWS = 3
_EXAMPLE_CHARS = 100


@dataclass(frozen=True)
class Review:
    """A review as the model sees it."""

    line: int
    stars: float | None
    text: str
    """The clean text, without what truncation removes."""
    num_tokens: int | None
    """None without a tokenizer."""
    truncated: bool


@dataclass
class Facts:
    """Facts about the N rows of a sample that are not rejected."""

    rows: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """Number of rejected records by reason."""
    examples: dict[str, str] = field(default_factory=dict)
    """First rejected record of each reason: its line, what is wrong, and its beginning."""
    stars: dict[str, int] = field(default_factory=dict)
    """Number of rows by stars, in ascending order; or by label, most frequent first."""
    repeated_frac: float = 0.0
    """Share of the rows whose text occurs before in the sample."""
    scripts: dict[str, float] = field(default_factory=dict)
    """Share of the rows by script, of the first rows of the sample."""
    token_quantiles: dict[str, int] = field(default_factory=dict)
    """Quantile → number of tokens before truncation; empty without a tokenizer."""
    truncated_frac: float | None = None
    """Share of the rows that are longer than the maximum length; None without a tokenizer."""
    reviews: list[Review] = field(default_factory=list)


def collect(chunks: Iterable[Chunk], fmt: Format, recipe: Recipe, tokenizer: str | None) -> Facts:
    """Facts about the rows of chunks.

    Args:
        tokenizer: content of tokenizer.json; None: facts about tokens are left out.
    """
    facts = Facts()
    rejected, stars, words = Counter[str](), Counter[float](), Counter[str]()
    hashes: list[IntArray] = []
    lengths: list[IntArray] = []
    kept: list[pa.Table] = []
    for chunk in chunks:
        result = keep_lines(chunk, fmt, recipe)
        _count_rejected(rejected, facts.examples, result.rejected)
        if not result.rows.num_rows:
            continue
        texts = result.rows["text"].combine_chunks()
        hashes.append(text_hash(texts)[:, 0])
        _count_stars(stars, result.rows)
        words.update(word for word in result.rows["word"].to_pylist() if word is not None)
        if tokenizer is not None:
            lengths.append(_lengths(texts, tokenizer, recipe.max_length))
        if sum(t.num_rows for t in kept) < _SCRIPT_ROWS:
            kept.append(result.rows.slice(0, _SCRIPT_ROWS))
        facts.rows += result.rows.num_rows
    facts.rejected = dict(rejected.most_common())
    facts.stars = {f"{n:g}": stars[n] for n in sorted(stars)} or dict(words.most_common())
    if facts.rows:
        _summarize(facts, hashes, lengths, pa.concat_tables(kept), recipe.max_length, tokenizer)
    return facts


def _count_rejected(counts: Counter[str], examples: dict[str, str], rejected: list[RejectedLine]) -> None:
    for line in sorted(rejected, key=lambda r: r.line):
        counts[line.reason.value] += 1
        if line.reason.value not in examples:
            raw = printable((line.raw or b"").decode(errors="replace"), _EXAMPLE_CHARS, ellipsis="…")
            detail = f"{line.detail}: " if line.detail else ""
            examples[line.reason.value] = f"line {line.line}: {detail}{raw}"


def _count_stars(counts: Counter[float], rows: pa.Table) -> None:
    stars = np.asarray(rows["stars"].to_numpy(zero_copy_only=False), np.float64)
    values, numbers = np.unique(stars[~np.isnan(stars)], return_counts=True)
    counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))


def _lengths(texts: pa.Array, tokenizer: str, max_length: int) -> IntArray:
    """(N,) int64: number of tokens of each text before truncation."""
    encoded = load_encoder(tokenizer, max_length)(texts)
    kept, cut = (np.asarray(encoded[name].to_numpy(), np.int64) for name in ("num_tokens", "cut_tokens"))
    return kept + cut


def _summarize(
    facts: Facts,
    hashes: list[IntArray],
    lengths: list[IntArray],
    rows: pa.Table,
    max_length: int,
    tokenizer: str | None,
) -> None:
    facts.repeated_frac = 1 - len(np.unique(np.concatenate(hashes))) / facts.rows
    facts.scripts = script_shares(rows["text"].slice(0, _SCRIPT_ROWS).to_pylist())
    if lengths:
        tokens = np.concatenate(lengths)
        found = np.quantile(tokens, QUANTILES, method="inverted_cdf").astype(int)
        facts.token_quantiles = {f"{q:g}": int(n) for q, n in zip(QUANTILES, found, strict=True)}
        facts.truncated_frac = float((tokens > max_length).mean())
    # From the beginning, the middle and the end of the first rows.
    count = rows.num_rows
    chosen = sorted({0, count // 2, count - 1})[:_SHOWN_REVIEWS]
    facts.reviews = [_review(rows.slice(i, 1).to_pylist()[0], tokenizer, max_length) for i in chosen]


def _review(row: dict[str, object], tokenizer: str | None, max_length: int) -> Review:
    text, stars = str(row["text"]), row["stars"]
    known = float(stars) if isinstance(stars, float) and stars == stars else None
    if tokenizer is None:
        return Review(int(str(row["line"])), known, text, None, truncated=False)
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_str(tokenizer)
    loaded.no_padding()
    loaded.enable_truncation(max_length)
    encoding = loaded.encode(text)
    end = max((end for _, end in encoding.offsets), default=0)
    truncated = bool(encoding.overflowing)
    shown = text[:end] if truncated else text
    return Review(int(str(row["line"])), known, shown, len(encoding.ids), truncated=truncated)
