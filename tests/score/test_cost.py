"""The bill of a job, against values computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.details import StepSeconds
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.entry import Entry
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.read.chunks import ChunkHeader
from pipeline.runtime.pools import Cluster, Node, Pool, ScorePlan
from pipeline.score.cost import describe_bill, make_bill

CPU = Cluster((Node(8), Node(8)))
GPU = Cluster((Node(16, 2),), ("H100",))


def pools(scorers: Pool) -> ScorePlan:
    return ScorePlan(Pool(1, 0.1), Pool(4, 1.0), scorers, Pool(2, 0.1))


def ledger(*chunks: dict[str, Any]) -> Ledger:
    found = Ledger([Source(0, "/in/a", 1000, "f")], 1.0)
    for number, chunk in enumerate(chunks):
        timings = chunk.pop("timings", {})
        counts = {n: chunk.get(n, 0) for n in ("tokens", "scored_tokens", "padded_tokens", "repeated_rows")}
        counts["flops"] = chunk.get("flops", 0.0)
        rows = chunk["rows"]
        header = ChunkHeader(0, "/in/a", number, 1, rows, last=False, broken=None, bytes_read=10)
        found.add(Entry(header, rows, {}, {}, [], counts, timings=timings))
    return found


ONE = {"rows": 900, "tokens": 30_000, "scored_tokens": 24_000, "padded_tokens": 32_000, "repeated_rows": 150}
SHARED = {"encode_s": 1.0, "score_s": 6.0, "write_s": 0.5, "halvings": 1}
TIMINGS = {"encoded_s": 90.0, "scored_from_s": 100.0, "scored_to_s": 106.0} | SHARED
LATER = {"encoded_s": 101.0, "scored_from_s": 102.0, "scored_to_s": 108.0} | SHARED
BEFORE = {"rows": 5000, "tokens": 7, "scored_tokens": 7, "padded_tokens": 7}


def test_sums_over_the_chunks_of_this_job_are_divided_once() -> None:
    found = ledger(ONE | {"timings": TIMINGS}, ONE | {"timings": LATER}, BEFORE)
    bill = make_bill(found, CPU, pools(Pool(2, 3.5)), elapsed_s=18.0, per_device_hour=3.0)
    assert bill.rows == 1800
    # Two actors over 8 s, each busy for 6 s: their intervals overlap only in part.
    assert bill.rows_per_s == pytest.approx(1800 / 8)
    assert bill.tokens_per_s == pytest.approx(60_000 / 8)
    assert bill.padding_frac == pytest.approx(1 - 24 / 32)
    assert bill.repeated_rows == 300
    assert bill.repeated_tokens_frac == pytest.approx(0.2)
    assert bill.busy_s == StepSeconds(encode=2.0, score=12.0, write=1.0)
    assert bill.waited_s == StepSeconds(encode=4 * 8 - 2.0, score=4.0, write=2 * 8 - 1.0)
    assert bill.most_waiting_chunks == 1
    assert bill.halvings == 2
    # Without GPUs, machines are counted.
    assert bill.device_hours == pytest.approx(2 * 18 / 3600)
    assert bill.price_per_million_rows == pytest.approx(2 * 18 / 3600 * 3 / 1800 * 1e6, rel=1e-5)
    assert bill.peak_frac is None
    text = describe_bill(bill)
    assert text.startswith(
        "225 rows/s, 7,500 tokens/s, padding 25.0%, repeated texts 20.0%, the model waited 25.0% of its time,"
        " 2 batches halved for lack of memory, 0.01 device-hours, "
    )
    assert text.endswith(" per million rows")


def test_threads_count_as_actors_in_waiting_time() -> None:
    found = ledger(ONE | {"timings": TIMINGS}, ONE | {"timings": LATER})
    one = make_bill(found, CPU, pools(Pool(1, 7.0, threads=2, calls=2)), elapsed_s=18.0, per_device_hour=None)
    two = make_bill(found, CPU, pools(Pool(2, 3.5)), elapsed_s=18.0, per_device_hour=None)
    assert one == two


@pytest.mark.parametrize(("size", "share", "devices"), [(2, 1.0, 2), (1, 1.0, 1), (4, 0.5, 2)])
def test_bill_counts_gpus_and_their_fraction_of_peak(size: int, share: float, devices: int) -> None:
    timings = {"encoded_s": 4.0, "scored_from_s": 5.0, "scored_to_s": 15.0}
    found = ledger(ONE | {"timings": timings, "flops": 989e12 * devices * 4})
    bill = make_bill(found, GPU, pools(Pool(size, 1, share)), elapsed_s=36.0, per_device_hour=None)
    assert bill.device_hours == pytest.approx(devices / 100)
    assert bill.peak_frac == pytest.approx(0.4)
    assert bill.price_per_million_rows is None
    assert "40% of the device's peak" in describe_bill(bill)


def test_idle_actors_do_not_change_the_rate() -> None:
    bill = make_bill(ledger(ONE | {"timings": TIMINGS}), CPU, pools(Pool(8, 1)), 10.0, None)
    assert bill.rows_per_s == pytest.approx(900 / 6)
    assert bill.waited_s.score == pytest.approx(7 * 6)


def test_unknown_peak_is_omitted() -> None:
    for types in ((), ("TPU-V9",), ("H100", "T4")):
        cluster = Cluster((Node(16, 2),), types)
        bill = make_bill(ledger(ONE | {"timings": TIMINGS}), cluster, pools(Pool(2, 1, 1.0)), 1.0, None)
        assert bill.peak_frac is None


def test_job_without_new_chunks_costs_nothing() -> None:
    bill = make_bill(ledger(BEFORE), CPU, pools(Pool(2, 3.5)), 0.0, per_device_hour=3.0)
    assert (bill.rows, bill.rows_per_s, bill.price_per_million_rows) == (0, 0.0, 0.0)
    assert (bill.padding_frac, bill.repeated_tokens_frac) == (0.0, 0.0)
    assert describe_bill(bill).startswith("0 rows/s")


def test_bill_has_the_maximum_number_of_waiting_chunks() -> None:
    waits = [(1.0, 5.0), (2.0, 6.0), (3.0, 3.5), (4.0, 9.0), (6.0, 7.0), (6.5, 8.0)]
    chunks = (
        ONE | {"timings": TIMINGS | {"encoded_s": since, "scored_from_s": until, "scored_to_s": 10.0}}
        for since, until in waits
    )
    bill = make_bill(ledger(*chunks), CPU, pools(Pool(2, 3.5)), 18.0, None)
    assert bill.most_waiting_chunks == 3
