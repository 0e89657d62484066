"""Small prepare jobs: on Ray, or only their first pass in this process."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.details import PrepareDetails
from pipeline.ingest.entry import Entry
from pipeline.ingest.stream import read_group
from pipeline.prepare import stage
from pipeline.prepare.split import SPLITS
from pipeline.prepare.stage import PrepareJob
from pipeline.prepare.steps import ENCODED
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Manifest
from pipeline.settings import load_config

Row = dict[str, Any]

EVEN = ("split.train_frac=0.4", "split.val_frac=0.3", "split.test_frac=0.3")
"""Settings with which each split has rows, also of a small input."""


def plan(model: Path, inputs: Iterable[Path | str], output: Path, *sets: str) -> PrepareJob:
    """A job whose texts have at most 16 tokens."""
    config = load_config(None, [f"model.name={model}", "tokenize.max_length=16", *sets])
    return stage.plan([str(i) for i in inputs], str(output), config)


def prepare(
    cluster: Any, model: Path, inputs: Iterable[Path | str], output: Path, *sets: str
) -> Manifest[PrepareDetails]:
    """Run a job on Ray."""
    return stage.prepare(plan(model, inputs, output, *sets), cluster, Reporter())


def encode(job: PrepareJob) -> tuple[list[Entry], list[Row]]:
    """Run the first pass of a job in this process; return the accounts of the chunks and the encoded rows.

    The field `split` of a row is the name of its split.
    """
    encoder = stage.chunk_encoder(job)
    tables = [encoder.encode_chunk(t) for s in job.sources for t in read_group([s], stage.read_plan(job))]
    entries = [Entry.from_json(text) for table in tables for text in table["entry"].to_pylist()]
    rows = parquet_rows(Path(job.output.path), f"{ENCODED}/*")
    return entries, [row | {"split": SPLITS[row["split"]]} for row in rows]


def parquet_rows(folder: Path, pattern: str) -> list[Row]:
    """Rows of the files of a directory that match a pattern, in order of file name."""
    return [row for file in sorted(folder.glob(pattern)) for row in pq.read_table(file).to_pylist()]


def rows_of(output: Path) -> list[Row]:
    """Rows of a data directory; the added field `split` is the directory of the row."""
    return [row | {"split": split} for split in SPLITS for row in parquet_rows(output, f"{split}/*")]
