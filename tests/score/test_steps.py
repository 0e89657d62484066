"""The steps of a scoring job before and after the model: encoding and writing chunks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig
from pipeline.ingest.clean.rows import Recipe
from pipeline.ingest.detect.sources import Source, detect_sources
from pipeline.ingest.entry import Entry
from pipeline.ingest.parse.rejects import Reason
from pipeline.ingest.stream import ReadPlan, batch_table, chunk_table, read_source, to_batch
from pipeline.ingest.tokenize.encode import load_encoder
from pipeline.model.tokenizer import tokenizer_json
from pipeline.rundir.parts import ENTRY_KEY
from pipeline.score.failed_rows import read_failed
from pipeline.score.part_metadata import RUN_KEY
from pipeline.score.predictor import add_rejects
from pipeline.score.steps import ChunkWork
from pipeline.storage.location import locate
from tests.crashes import guard_reporting
from tests.runs import CARD

RECIPE = Recipe(" ", max_length=16, verified_only=False, scheme=None)


def write(file: Path, rows: int) -> str:
    lines = [json.dumps({"reviewText": f"shirt number {i}", "overall": 5.0}) for i in range(rows)]
    # Every third line is not a JSON object.
    lines = [x for i, line in enumerate(lines) for x in ([line, "{"] if i % 2 else [line])]
    file.write_text("\n".join(lines) + "\n")
    return str(file)


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    files = [locate(write(tmp_path / f"{i}.json", rows)) for i, rows in enumerate((30, 20))]
    return detect_sources(files, InputConfig(), need_stars=False)


@pytest.fixture
def work(sources: list[Source], tiny_model: Path, tmp_path: Path) -> ChunkWork:
    formats = {s.number: s.fmt for s in sources}
    return ChunkWork(
        str(tmp_path / "out"), formats, RECIPE, tokenizer_json(tiny_model), CARD, "run 1", "model 1"
    )


@pytest.mark.parametrize("most", [1, 30, 45, 100])
def test_first_rows_span_several_files(work: ChunkWork, sources: list[Source], most: int) -> None:
    texts = [f"shirt number {i}" for rows in (30, 20) for i in range(rows)][:most]
    expected = load_encoder(work.tokenizer, 16)(pa.array(texts))["input_ids"]
    assert work.first_rows(sources, most).to_pylist() == expected.to_pylist()


def test_no_sources_have_no_first_rows(work: ChunkWork) -> None:
    assert len(work.first_rows([], 10)) == 0


def test_second_attempt_at_a_chunk_writes_the_same_bytes(
    work: ChunkWork, sources: list[Source], tmp_path: Path
) -> None:
    (chunk,) = read_source(sources[0], ReadPlan(1 << 20))
    scored = replace(work.encode(chunk), counts={"tokens": 7})
    written = []
    for seconds in (1.0, 2.0):
        account = work.write_chunk(batch_table(replace(scored, timings={"encode_s": seconds})))
        entry = Entry.from_json(account["entry"][0].as_py())
        assert (entry.timings["encode_s"], entry.counts) == (seconds, {"tokens": 7})
        assert entry.timings["write_s"] > 0
        assert [o.path for o in entry.outputs] == [
            "rejects/part-00000-000000.parquet",
            "part-00000-000000.parquet",
        ]
        written.append([(tmp_path / "out" / o.path).read_bytes() for o in entry.outputs])
    assert written[0] == written[1]
    metadata = pq.read_metadata(tmp_path / "out" / "part-00000-000000.parquet").metadata
    assert metadata[RUN_KEY] == b"run 1"
    kept = Entry.of_dict(json.loads(metadata[ENTRY_KEY]) | {"source": "/in/a"})
    assert (kept.rows, kept.rejected, kept.timings) == (30, {"bad_json": 15}, {})
    assert to_batch(batch_table(scored)).rows.num_rows == 30


def test_part_lists_the_rows_on_which_the_model_failed(
    work: ChunkWork, sources: list[Source], tmp_path: Path
) -> None:
    (chunk,) = read_source(sources[1], ReadPlan(1 << 20))
    batch = work.encode(chunk)
    lines = batch.rows["line"].to_pylist()
    rows = batch.rows.take([0, 1, 2, *range(5, batch.rows.num_rows)])
    rejects = add_rejects(batch.rejects, batch, Reason.MODEL_FAILED, {3: "why", 4: "why not"})
    written = work.write_chunk(batch_table(replace(batch, rows=rows, rejects=rejects)))
    entry = Entry.from_json(written["entry"][0].as_py())
    assert (entry.failed, entry.rejected) == (2, {"bad_json": 10, "model_failed": 2})
    assert entry.header.lines == entry.rows + sum(entry.rejected.values())
    name = "part-00001-000000.parquet"
    kept = pq.read_table(tmp_path / "out" / "rejects" / name)
    assert set(kept["reason"].to_pylist()) == {"bad_json"}
    assert kept["raw"].null_count == 0
    assert read_failed(pq.read_metadata(tmp_path / "out" / name).metadata).to_pylist() == [
        {"line": lines[3], "reason": "model_failed", "detail": "why"},
        {"line": lines[4], "reason": "model_failed", "detail": "why not"},
    ]


def test_chunk_that_crashed_workers_is_rejected_entirely(
    work: ChunkWork, sources: list[Source], tmp_path: Path
) -> None:
    def crashes(step: str, file: int, number: int) -> int:
        assert (step, file, number) == ("encode", 0, 0)
        return 3

    (chunk,) = read_source(sources[0], ReadPlan(1 << 20))
    whole = work.encode(chunk)
    work = replace(work, guard=guard_reporting(crashes))
    batch = to_batch(work.encode_chunk(chunk_table(chunk)))
    assert (batch.rows.num_rows, batch.rows.schema) == (0, whole.rows.schema)
    assert batch.rejects is not None
    raw = (tmp_path / "0.json").read_bytes()
    assert b"".join(r + b"\n" for r in batch.rejects["raw"].to_pylist()) == raw
    assert set(batch.rejects["reason"].to_pylist()) == {"worker_died"}
    assert batch.rejects.num_rows == chunk.header.lines
