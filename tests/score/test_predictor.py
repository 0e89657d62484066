"""The scoring actor: counts, comparison with float32, and rows and chunks that fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import BrokenDeviceError
from pipeline.ingest.parse.rejects import Reason, RejectedLine, reject_table
from pipeline.ingest.read.chunks import ChunkHeader
from pipeline.ingest.stream import Batch, batch_table, to_batch
from pipeline.model.card import ModelCard, fingerprint_model
from pipeline.model.options import ForwardOptions
from pipeline.model.ragged import Ragged
from pipeline.score import predictor as module
from pipeline.score.predictor import Predictor, PredictorOptions, score_columns
from pipeline.storage.location import locate
from tests.crashes import guard_reporting

MAX_LENGTH = 30


def predictor(
    model: tuple[str, ModelCard], precision: str = "bfloat16", batch_tokens: int = 256, **options: Any
) -> Predictor:
    uri, card = model
    forward = ForwardOptions(uri, fingerprint_model(locate(uri)), MAX_LENGTH, precision)
    return Predictor(PredictorOptions(forward, card, batch_tokens, **options))


def chunk(rows: list[list[int]], file: int = 0, number: int = 0) -> Batch:
    table = {
        "source": pa.array(["a"] * len(rows), pa.string()),
        "line": pa.array(range(1, len(rows) + 1), pa.int64()),
        "input_ids": pa.array(rows, pa.list_(pa.int32())),
        "num_tokens": pa.array([len(r) for r in rows], pa.int32()),
        "truncated": pa.array([False] * len(rows), pa.bool_()),
    }
    header = ChunkHeader(file, "a", number, 1, len(rows), last=True, broken=None, bytes_read=9)
    return Batch(header, pa.table(table), None, timings={"encode_s": 1.0})


def some_rows(count: int) -> list[list[int]]:
    numbers = np.random.default_rng(0)
    return [numbers.integers(5, 500, n).tolist() for n in numbers.integers(1, 31, count)]


def score(actor: Predictor, batch: Batch) -> Batch:
    return to_batch(actor(batch_table(batch)))


def test_equal_texts_are_scored_once_and_share_the_result(model: tuple[str, ModelCard]) -> None:
    actor, rows = predictor(model), some_rows(40)
    once, thrice = score(actor, chunk(rows)), score(actor, chunk([*rows, *rows[::-1], *rows]))
    names = ["label", "score", *(f"prob_{i}" for i in range(1, 6))]
    assert once.rows.schema.names == ["source", "line", *names, "num_tokens", "truncated"]
    for name in names:
        values = once.rows[name].to_pylist()
        assert thrice.rows[name].to_pylist() == [*values, *values[::-1], *values]
    tokens = sum(map(len, rows))
    assert once.counts["repeated_rows"] == 0
    assert thrice.counts["repeated_rows"] == 80
    assert (thrice.counts["tokens"], thrice.counts["scored_tokens"]) == (3 * tokens, tokens)
    assert thrice.counts["padded_tokens"] == once.counts["padded_tokens"] >= tokens
    assert thrice.counts["flops"] == once.counts["flops"] > 0


def test_timings_are_separate_from_counts(model: tuple[str, ModelCard]) -> None:
    actor = predictor(model)
    first, second = score(actor, chunk(some_rows(5))), score(actor, chunk(some_rows(5), number=1))
    times = [chunk.timings[n] for chunk in (first, second) for n in ("scored_from_s", "scored_to_s")]
    assert times == sorted(set(times))
    assert first.timings["encode_s"] == 1.0
    # Counts are stored in the part, whose bytes must not depend on time.
    assert not {n for n in first.counts if n.endswith("_s")}


@pytest.mark.parametrize(("count", "compared"), [(10, 10), (150, 64), (2000, 125), (4200, 256)])
def test_first_rows_of_a_job_are_compared_with_float32(
    model: tuple[str, ModelCard], count: int, compared: int
) -> None:
    # Large batches: otherwise the overhead per batch dominates the time of this test.
    actor = predictor(model, batch_tokens=4096)
    rows = [list(row) for row in dict.fromkeys(map(tuple, some_rows(2 * count)))][:count]
    found = score(actor, chunk(rows))
    assert found.counts["compared_rows"] == compared
    assert 0 <= found.counts["changed_labels"] < compared / 4
    assert 0 < found.counts["largest_change"] < 0.05
    exact = score(predictor(model, "float32", batch_tokens=4096), chunk(rows))
    assert "compared_rows" not in exact.counts
    change = max(
        np.abs(found.rows[n].to_numpy()[:compared] - exact.rows[n].to_numpy()[:compared]).max()
        for n in found.rows.schema.names
        if n.startswith("prob_")
    )
    # Different batches differ in the last bits.
    assert found.counts["largest_change"] == pytest.approx(change, abs=1e-4)


def test_only_the_first_chunks_of_a_job_are_compared_with_float32(model: tuple[str, ModelCard]) -> None:
    actor, rows = predictor(model), some_rows(150)
    for compared in (chunk(rows), chunk(rows), chunk(rows, number=1)):
        assert score(actor, compared).counts["compared_rows"] == 64
    # The first chunk is compared only if its file has no other.
    first = chunk(rows)
    not_last = replace(first, header=replace(first.header, last=False))
    for other in (not_last, chunk(rows, number=2), chunk(rows, file=1)):
        assert "compared_rows" not in score(actor, other).counts


class Failing:
    """A forward pass that fails on rows that contain the ID `bad`."""

    def __init__(self, forward: Any, bad: int) -> None:
        self.forward, self.bad, self.model = forward, bad, forward.model

    def __call__(self, ids: Ragged, batch_tokens: int) -> Any:
        scored = self.forward(ids, batch_tokens)
        rows = zip(ids.offsets, ids.offsets[1:], strict=False)
        bad = [i for i, (a, b) in enumerate(rows) if self.bad in ids.values[a:b]]
        scored.failures = dict.fromkeys(bad, "IndexError: index out of range in self")
        return scored


def test_rows_on_which_the_model_fails_are_rejected(model: tuple[str, ModelCard]) -> None:
    actor, rows = predictor(model), some_rows(30)
    whole = score(actor, chunk(rows)).rows
    rows[4][0] = rows[11][0] = 499
    # Equal texts fail together.
    rows[20] = rows[4]
    actor._forward = Failing(actor._forward, 499)
    before = reject_table("a", 0, [RejectedLine(31, 5, Reason.BAD_JSON, "", b"{")])
    found = score(actor, replace(chunk(rows), rejects=before))
    good = [i for i in range(30) if i not in (4, 11, 20)]
    assert found.rows["line"].to_pylist() == [i + 1 for i in good]
    # Different batches differ in the last bits.
    np.testing.assert_allclose(found.rows["score"], whole["score"].to_numpy()[good], atol=0.01)
    assert found.rows.schema == whole.schema
    assert found.rejects is not None
    rejects = found.rejects.select(["line", "byte_offset", "reason", "detail", "raw"]).to_pylist()
    said = {"byte_offset": None, "reason": "model_failed", "detail": "IndexError: index out of range in self"}
    assert rejects[:3] == [{"line": n, **said, "raw": None} for n in (5, 12, 21)]
    assert rejects[3] == {"line": 31, "byte_offset": 5, "reason": "bad_json", "detail": "", "raw": b"{"}


@pytest.mark.parametrize("count", [1, 6])
def test_chunk_may_have_only_failed_rows(model: tuple[str, ModelCard], count: int) -> None:
    actor, rows = predictor(model), some_rows(count)
    schema = score(actor, chunk(rows)).rows.schema
    for row in rows:
        row[0] = 499
    actor._forward = Failing(actor._forward, 499)
    found = score(actor, chunk(rows))
    assert (found.rows.num_rows, found.rows.schema) == (0, schema)
    assert found.rejects is not None
    assert found.rejects.num_rows == count


@pytest.mark.parametrize("count", [0, 5])
def test_chunk_that_crashed_workers_is_set_aside(model: tuple[str, ModelCard], count: int) -> None:
    schema = score(predictor(model), chunk(some_rows(5))).rows.schema
    actor = predictor(model, guard=guard_reporting(lambda *_: 3))
    found = score(actor, chunk(some_rows(count)))
    assert (found.rows.num_rows, found.rows.schema) == (0, schema)
    assert found.rejects is not None
    assert found.rejects["line"].to_pylist() == list(range(1, count + 1))
    assert found.rejects["reason"].to_pylist() == ["worker_died"] * count
    said = "3 workers crashed while trying to score this chunk"
    assert found.rejects["detail"].to_pylist() == [said] * count
    assert found.timings.keys() == {"encode_s", "scored_from_s", "scored_to_s"}


def test_broken_gpu_ends_the_process(model: tuple[str, ModelCard], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise BrokenDeviceError("CUDA error: device-side assert triggered")

    class EndedError(Exception):
        pass

    def end(code: int) -> None:
        raise EndedError(code)

    actor: Any = predictor(model)
    actor._forward = broken
    monkeypatch.setattr(module.os, "_exit", end)
    with pytest.raises(EndedError, match="1"):
        score(actor, chunk(some_rows(5)))


def test_chunk_without_rows_keeps_the_schema(model: tuple[str, ModelCard]) -> None:
    scored = score(predictor(model), chunk([]))
    assert scored.rows.num_rows == 0
    assert "prob_5" in scored.rows.schema.names
    assert (scored.counts["tokens"], scored.counts["padded_tokens"]) == (0, 0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_results_do_not_depend_on_the_number_of_threads(model: tuple[str, ModelCard], precision: str) -> None:
    chunks = [batch_table(chunk(some_rows(200 + n), number=n)) for n in range(4)]
    found = []
    for threads in (1, 2, 3):
        actor = predictor(model, precision, threads=threads)
        with ThreadPoolExecutor(threads) as calls:
            found.append([to_batch(table).rows for table in calls.map(actor, chunks)])
    assert found[0] == found[1] == found[2]


def test_several_labels_and_numbers_have_columns_of_their_own(model: tuple[str, ModelCard]) -> None:
    rows = chunk(some_rows(3)).rows.drop_columns(["input_ids"])
    probabilities = np.array([[0.9, 0.5, 0.1], [0.2, 0.4, 0.3], [0.6, 0.7, 0.8]], np.float32)
    card = model[1].model_copy(update={"labels": ["a", "b", "c"], "problem": "multi_label"})
    table = score_columns(rows, probabilities, card)
    assert table["label"].to_pylist() == ["a", "b", "c"]
    np.testing.assert_array_equal(table["score"].to_numpy(), probabilities.max(1))
    assert table["label_set"].to_pylist() == [["a", "b"], [], ["a", "b", "c"]]
    assert table.column_names[-3:] == ["label_set", "num_tokens", "truncated"]
    card = card.model_copy(update={"labels": ["stars"], "problem": "regression"})
    table = score_columns(rows, probabilities[:, :1], card)
    assert table.column_names == ["source", "line", "label", "score", "num_tokens", "truncated"]
    assert table["label"].null_count == 3
    np.testing.assert_array_equal(table["score"].to_numpy(), probabilities[:, 0])
