"""Writes a scores directory for two files without a model, for the tests of parts, resume and verify."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import Config
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.entry import Entry
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.parse.rejects import Reason, RejectedLine, reject_table
from pipeline.ingest.read.chunks import ChunkHeader
from pipeline.ingest.stream import Batch, batch_table
from pipeline.rundir.manifest import InputFile, Manifest, Run, to_json, write_manifest
from pipeline.score.steps import ChunkWork
from pipeline.storage.location import locate
from tests.runs import DETAILS

LINES = 10
CHUNKS = {0: 3, 1: 2}
RUN = Run(
    stage="score",
    inputs=[InputFile(path=f"/in/{n}", size_bytes=1, fingerprint=n) for n in "ab"],
    model_fingerprint="model 1",
    settings={"input": {"max_rows": None}},
)
PART, MIDDLE, LAST = (f"part-00000-00000{i}.parquet" for i in range(3))


def write_chunk(folder: Path, file: int, number: int, run: Run = RUN, **other: Any) -> Entry:
    """Write a chunk of ten lines; chunks with an odd number have one rejected line."""
    rejected = number % 2
    source = run.inputs[file].path
    first = number * LINES + 1
    lines = pa.array(range(first, first + LINES - rejected), pa.int64())
    rejects = [RejectedLine(first + LINES - 1, 0, Reason.EMPTY_TEXT, "", b"{}")] if rejected else []
    last = number == CHUNKS[file] - 1
    header = ChunkHeader(file, source, number, first, LINES, last=last, broken=None, bytes_read=9)
    batch = Batch(
        replace(header, **{name: other.pop(name) for name in other.keys() & asdict(header)}),
        pa.table({"line": lines, "score": pa.array([0.5] * len(lines), pa.float32())}),
        reject_table(source, 0, rejects) if rejects else None,
    )
    none: Any = None
    work = ChunkWork(str(folder), {}, none, "", none, run.key, str(run.model_fingerprint))
    return Entry.from_json(work.write_chunk(batch_table(replace(batch, **other)))["entry"][0].as_py())


def write_scores(folder: Path, run: Run = RUN) -> None:
    sources = [Source(i, file.path, 1, "f") for i, file in enumerate(run.inputs)]
    ledger = Ledger(sources, 1.0)
    for file, chunks in CHUNKS.items():
        for number in range(chunks):
            ledger.add(write_chunk(folder, file, number, run))
    (folder / "run.json").write_bytes(to_json(run.model_dump(mode="json")))
    counts = ledger.close()
    write_manifest(
        locate(folder), Manifest.of(run, Config(), 0.0, DETAILS, outputs=ledger.outputs(), counts=counts)
    )
