"""Rows on which the model failed are written to rejects/ with their lines, in one pass over each file."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Config, InputConfig
from pipeline.errors import InputError
from pipeline.ingest.clean.rows import Recipe
from pipeline.ingest.detect.sources import Source, detect_sources
from pipeline.ingest.entry import Entry
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.parse.rejects import Reason
from pipeline.ingest.stream import ReadPlan, batch_table, read_source
from pipeline.model.tokenizer import tokenizer_json
from pipeline.rundir.manifest import InputFile, Manifest, OutputFile, Run, to_json, write_manifest
from pipeline.score.failed_rows import FAILED_SCHEMA, FailedRows, failed_metadata, holds_rows, read_failed
from pipeline.score.predictor import add_rejects
from pipeline.score.steps import ChunkWork
from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.runs import CARD, DETAILS

FAILED = "rejects/failed-00000.parquet"
ROWS = 60
RECIPE = Recipe(" ", max_length=16, verified_only=False, scheme=None)
RECORDS = [{"reviewText": "shirt\n" * 9 + f"number {i}", "overall": 5.0} for i in range(ROWS)]


def write_json(folder: Path) -> Path:
    """Write lines in two gzip members."""
    lines = [json.dumps(record) + "\n" for record in RECORDS]
    members = ("".join(lines[:25]), "".join(lines[25:]))
    file = folder / "reviews.json.gz"
    file.write_bytes(b"".join(gzip.compress(member.encode()) for member in members))
    return file


def write_csv(folder: Path) -> Path:
    """Write records with quoted newlines."""
    file = folder / "reviews.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(RECORDS[0]))
        writer.writeheader()
        writer.writerows(RECORDS)
    return file


def write_parquet(folder: Path) -> Path:
    file = folder / "reviews.parquet"
    pq.write_table(pa.Table.from_pylist(RECORDS), file, row_group_size=7)
    return file


Writer = Callable[[Path], Path]
FORMATS = pytest.mark.parametrize("write", [write_json, write_csv, write_parquet])


def score(folder: Path, write: Writer, model: Path) -> tuple[FailedRows, Source, list[Entry]]:
    """Commit the chunks of a dump; in every second chunk the model fails on rows 1 and 3."""
    (source,) = detect_sources([locate(write(folder))], InputConfig(), need_stars=False)
    run = run_of(source)
    work = ChunkWork(
        str(folder / "out"), {0: source.fmt}, RECIPE, tokenizer_json(model), CARD, run.key, "model 1"
    )
    entries = []
    for chunk in read_source(source, ReadPlan(512)):
        batch = work.encode(chunk)
        if chunk.header.chunk % 2:
            rejects = add_rejects(batch.rejects, batch, Reason.MODEL_FAILED, {1: "why", 3: "why not"})
            rows = batch.rows.take([0, 2, *range(4, batch.rows.num_rows)])
            batch = replace(batch, rows=rows, rejects=rejects)
        entries.append(Entry.from_json(work.write_chunk(batch_table(batch))["entry"][0].as_py()))
    return FailedRows(str(folder / "out"), run.key, RECIPE.parse_options()), source, entries


def run_of(source: Source) -> Run:
    file = InputFile(path=source.uri, size_bytes=1, fingerprint="a")
    return Run(stage="score", inputs=[file], model_fingerprint="model 1")


def finish(folder: Path, source: Source, entries: list[Entry], outputs: list[OutputFile]) -> None:
    """Write run.json and the manifest of a scores directory."""
    run = run_of(source)
    ledger = Ledger([source], 1.0)
    ledger.add_all(entries)
    (folder / "run.json").write_bytes(to_json(run.model_dump(mode="json")))
    outputs = [*ledger.outputs(), *outputs]
    manifest = Manifest.of(run, Config(), 0.0, DETAILS, outputs=outputs, counts=ledger.close())
    write_manifest(locate(folder), manifest)


def failed_chunks(entries: list[Entry]) -> list[int]:
    return [entry.header.chunk for entry in entries if entry.failed]


def write_failed_rows(work: FailedRows, source: Source, chunks: list[int]) -> list[OutputFile]:
    """Run the pass over a file; return the files that it wrote."""
    written = [table["output"][0].as_py() for table in work.write_file(source, chunks)]
    return [OutputFile.model_validate_json(text) for text in written]


@FORMATS
def test_each_failed_row_has_its_line_and_reason(tmp_path: Path, tiny_model: Path, write: Writer) -> None:
    work, source, entries = score(tmp_path, write, tiny_model)
    chunks = failed_chunks(entries)
    assert len(chunks) > 2
    assert [o.path for o in write_failed_rows(work, source, chunks)] == [FAILED]
    kept = pq.read_table(tmp_path / "out" / "rejects" / "failed-00000.parquet").to_pylist()
    lines = [entries[c].header.first_line + row for c in chunks for row in (1, 3)]
    assert [row["line"] for row in kept] == lines
    assert [row["detail"] for row in kept] == ["why", "why not"] * len(chunks)
    for row in kept:
        assert f"number {row['line'] - 1}" in row["raw"].decode()
        assert (row["source"], row["reason"]) == (source.uri, "model_failed")


@FORMATS
def test_second_pass_writes_the_same_bytes(tmp_path: Path, tiny_model: Path, write: Writer) -> None:
    work, source, entries = score(tmp_path, write, tiny_model)
    file = tmp_path / "out" / "rejects" / "failed-00000.parquet"
    contents = []
    for _ in range(2):
        write_failed_rows(work, source, failed_chunks(entries))
        contents.append(file.read_bytes())
    assert contents[0] == contents[1]


def test_failed_rows_over_the_limit_go_to_further_files(tmp_path: Path, tiny_model: Path) -> None:
    work, source, entries = score(tmp_path, write_json, tiny_model)
    work = replace(work, max_rows=3)
    outputs = write_failed_rows(work, source, failed_chunks(entries))
    names = [o.path for o in outputs]
    assert names[:2] == [FAILED, "rejects/failed-00000-00001.parquet"]
    rows = [pq.read_table(tmp_path / "out" / name).num_rows for name in names]
    assert sum(rows) == sum(entry.failed for entry in entries)
    assert set(rows[:-1]) == {3}
    listed = pa.concat_tables(
        read_failed(pq.read_metadata(tmp_path / "out" / f"part-00000-{c:06d}.parquet").metadata)
        for c in failed_chunks(entries)
    )
    out = locate(tmp_path / "out")
    assert holds_rows(out, names, source.uri, listed)
    assert not holds_rows(out, names[::-1], source.uri, listed)
    assert not holds_rows(out, names[:-1], source.uri, listed)
    assert not holds_rows(out, names, "another.json", listed)
    finish(tmp_path / "out", source, entries, outputs)
    assert verify(out).faults == {}


def test_dump_that_became_shorter_is_reported(tmp_path: Path, tiny_model: Path) -> None:
    work, source, entries = score(tmp_path, write_json, tiny_model)
    (tmp_path / "reviews.json.gz").write_bytes(gzip.compress(b'{"reviewText": "a", "overall": 1}\n'))
    with pytest.raises(InputError, match=r"changed while the job was running: line \d+ is gone; rerun"):
        write_failed_rows(work, source, failed_chunks(entries))


def test_verify_accepts_complete_failed_rows(tmp_path: Path, tiny_model: Path) -> None:
    work, source, entries = score(tmp_path, write_json, tiny_model)
    finish(tmp_path / "out", source, entries, write_failed_rows(work, source, failed_chunks(entries)))
    assert verify(locate(tmp_path / "out")).faults == {}
    (account,) = verify(locate(tmp_path / "out")).files
    assert account.rejected == {"model_failed": sum(entry.failed for entry in entries)}


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[30] ^= 1
    file.write_bytes(data)


OTHER = "rejects/failed-00001.parquet"
Damage = Callable[[FailedRows, Source, list[int]], object]
DAMAGES: dict[str, tuple[str, Damage]] = {
    "missing": (FAILED, lambda work, source, chunks: (Path(work.output) / FAILED).unlink()),
    "does not contain the rows": (
        FAILED,
        lambda work, source, chunks: write_failed_rows(work, source, chunks[1:]),
    ),
    "belongs to no input file": (
        OTHER,
        lambda work, source, chunks: shutil.copy(Path(work.output) / FAILED, Path(work.output) / OTHER),
    ),
    "the checksum differs": (FAILED, lambda work, source, chunks: flip(Path(work.output) / FAILED)),
}


@pytest.mark.parametrize("fault", DAMAGES)
def test_verify_reports_damaged_failed_rows(tmp_path: Path, tiny_model: Path, fault: str) -> None:
    work, source, entries = score(tmp_path, write_json, tiny_model)
    chunks = failed_chunks(entries)
    finish(tmp_path / "out", source, entries, write_failed_rows(work, source, chunks))
    name, damage = DAMAGES[fault]
    damage(work, source, chunks)
    assert fault in verify(locate(tmp_path / "out")).faults[name]


def test_metadata_lists_failed_rows_by_line() -> None:
    rows = [
        (7, "model_failed", "b"),
        (2, "model_failed", "a"),
        (5, "worker_died", "a"),
        (3, "model_failed", "b"),
    ]
    table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=FAILED_SCHEMA)
    kept = read_failed(failed_metadata(table)).to_pylist()
    assert [tuple(row.values()) for row in kept] == sorted(rows)
    assert failed_metadata(FAILED_SCHEMA.empty_table()) == {}
    assert read_failed({}).equals(FAILED_SCHEMA.empty_table())
