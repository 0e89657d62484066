"""All benchmarks of `jobs.bench`, by name."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.benchmarks.capacity import bench_backlog, bench_memory, bench_scale, bench_start
from pipeline.benchmarks.comparisons import (
    bench_encode,
    bench_families,
    bench_ingest,
    bench_quality,
    bench_score,
    bench_train,
)
from pipeline.benchmarks.options import Entries, Options, Output

HAVE_CONTENDERS = ("ingest", "score", "train")
"""Benchmarks that support `--only`."""

BENCHES: dict[str, Callable[[Output, Options], Entries]] = {
    "quality": bench_quality,
    "memory": bench_memory,
    "backlog": bench_backlog,
    "encode": bench_encode,
    "ingest": bench_ingest,
    "score": bench_score,
    "families": bench_families,
    "start": bench_start,
    "scale": bench_scale,
    "train": bench_train,
}
"""Benchmarks by their name on the command line."""
