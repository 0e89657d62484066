"""The ledger of a stage detects missing, overlapping and unbalanced chunks, in any order of arrival."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import AccountingError, ErrorBudgetError, NoRowsError
from pipeline.ingest.detect.sources import Source
from pipeline.ingest.entry import Entry
from pipeline.ingest.ledger import Ledger, check_finished
from pipeline.ingest.parse.rejects import Reason, RejectedLine, reject_table
from pipeline.ingest.read.chunks import ChunkHeader
from pipeline.ingest.stream import Batch
from pipeline.rundir.manifest import Counts, OutputFile

SOURCES = [Source(0, "/in/a.gz", 100, "f"), Source(1, "/in/b.gz", 50, "f")]


def entry(file: int, chunk: int, first_line: int, lines: int, **values: Any) -> Entry:
    end = {"last": False, "broken": None, "bytes_read": 0}
    end |= {name: values.pop(name) for name in end.keys() & values.keys()}
    rejected = values.pop("rejected", {})
    data: dict[str, Any] = {
        "rows": lines - sum(rejected.values()),
        "rejected": rejected,
        "examples": {},
        "outputs": [OutputFile(path=f"part-{file}-{chunk}", rows=lines, bytes=1)],
        "counts": {"tokens": 10 * lines},
    }
    header = ChunkHeader(file, SOURCES[file].uri, chunk, first_line, lines, **end)
    return Entry(header, **data | values)


def changed(item: Entry, **values: Any) -> Entry:
    """An entry with other values in its header."""
    return replace(item, header=replace(item.header, **values))


def whole() -> list[Entry]:
    return [
        entry(0, 0, 1, 10),
        entry(0, 1, 11, 5, rejected={"empty_text": 1}),
        entry(0, 2, 16, 4, last=True, bytes_read=100),
        entry(1, 0, 1, 7, last=True, bytes_read=50),
    ]


def ledger_of(entries: list[Entry], max_rejected_frac: float = 1.0) -> Ledger:
    ledger = Ledger(SOURCES, max_rejected_frac)
    for item in entries:
        ledger.add(item)
    return ledger


def test_complete_ledger_balances() -> None:
    ledger = ledger_of(whole())
    counts = ledger.close()
    assert (counts.lines, counts.rows, counts.rejected) == (26, 25, {"empty_text": 1})
    assert ledger.total("tokens") == 260
    assert ledger.total("never counted") == 0
    assert ledger.done_frac == 1.0
    assert [o.path for o in ledger.outputs()] == ["part-0-0", "part-0-1", "part-0-2", "part-1-0"]


def test_input_of_which_no_row_is_left_names_the_filters() -> None:
    rejected = {"filtered_unverified": 6, "missing_timestamp": 3, "empty_text": 1}
    ledger = ledger_of([entry(0, 0, 1, 10, rejected=rejected, last=True)])
    with pytest.raises(NoRowsError) as raised:
        ledger.close(all_files=False)
    assert raised.value.exit_code == 3
    assert str(raised.value) == (
        "none of the 10 lines can be used: 6 filtered_unverified, 3 missing_timestamp, 1 empty_text;"
        " change input.verified_only or split.by or input.timestamp"
    )
    ledger_of([entry(0, 0, 1, 0, last=True), entry(1, 0, 1, 0, last=True)]).close()


@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 3), max_size=5))
def test_order_and_repeated_chunks_do_not_change_the_counts(
    shuffled: random.Random, again: list[int]
) -> None:
    entries = whole() + [whole()[i] for i in again]
    shuffled.shuffle(entries)
    ledger = ledger_of(entries)
    assert ledger.close() == ledger_of(whole()).close()
    assert ledger.outputs() == ledger_of(whole()).outputs()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (0, "/in/a.gz: chunk 0 from line 1 is missing; found chunk 1 from line 11"),
        (1, "/in/a.gz: chunk 1 from line 11 is missing; found chunk 2 from line 16"),
        (2, "/in/a.gz: its end is missing, from chunk 2 on"),
        (3, "/in/b.gz: its end is missing, from chunk 0 on"),
    ],
)
def test_missing_chunk_is_named(missing: int, words: str) -> None:
    entries = whole()
    del entries[missing]
    with pytest.raises(AccountingError) as raised:
        ledger_of(entries).close()
    assert str(raised.value) == words


def test_line_ranges_must_be_contiguous() -> None:
    entries = whole()
    entries[1] = changed(entries[1], first_line=12)
    with pytest.raises(AccountingError, match=r"chunk 1 from line 11 is missing; found chunk 1 from line 12"):
        ledger_of(entries).close()


@pytest.mark.parametrize("rows", [6, 8])
def test_lines_in_and_out_must_balance_in_each_chunk(rows: int) -> None:
    entries = whole()
    entries[3] = replace(entries[3], rows=rows)
    # Another chunk compensates, so the totals balance.
    entries[0] = replace(entries[0], rows=17 - rows)
    with pytest.raises(AccountingError, match="chunk 0: 10 lines in, another number out"):
        ledger_of(entries).close()


def test_no_chunk_may_follow_the_one_marked_last() -> None:
    entries = [*whole(), entry(1, 1, 8, 3)]
    with pytest.raises(AccountingError, match=r"/in/b\.gz: its end is missing"):
        ledger_of(entries).close()


def test_max_rows_may_leave_later_files_unread_but_not_partly_read() -> None:
    only_first = whole()[:3]
    assert ledger_of(only_first).close(all_files=False).lines == 19
    with pytest.raises(AccountingError, match=r"/in/b\.gz"):
        ledger_of(only_first).close()
    with pytest.raises(AccountingError, match=r"/in/a\.gz: its end is missing"):
        ledger_of(whole()[:2]).close(all_files=False)
    with pytest.raises(AccountingError, match=r"/in/a\.gz: its end is missing"):
        ledger_of(whole()[3:]).close(all_files=False)


def test_empty_file_is_one_empty_chunk() -> None:
    entries = [*whole()[:3], entry(1, 0, 1, 0, last=True)]
    assert ledger_of(entries).close().lines == 19


def test_each_broken_file_is_reported_once() -> None:
    entries = whole()
    entries[2] = changed(entries[2], broken="gzip data end in the middle of a stream, at byte 100")
    assert ledger_of(entries).broken == [
        "/in/a.gz: gzip data end in the middle of a stream, at byte 100",
    ]


def test_budget_error_names_counts_reasons_and_examples() -> None:
    rejected = {"bad_json": 2, "duplicate": 4, "empty_text": 1}
    examples = {"bad_json": "/in/a.gz, line 4: truncated: {", "empty_text": "/in/a.gz, line 5: nothing: {}"}
    bad = entry(0, 0, 1, 20, rejected=rejected, examples=examples)
    ledger = ledger_of([changed(bad, last=True), *whole()[3:]], max_rejected_frac=0.1)
    with pytest.raises(ErrorBudgetError) as raised:
        ledger.close()
    assert str(raised.value) == (
        "3 of 27 lines rejected, more than input.max_rejected_frac=0.1 allows: 2 bad_json (/in/a.gz, line 4:"
        " truncated: {); 1 empty_text (/in/a.gz, line 5: nothing: {})"
    )


def test_filters_do_not_count_towards_the_budget() -> None:
    filtered = {"filtered_unverified": 900, "neutral_dropped": 50}
    ledger = Ledger(SOURCES[:1], 0.0)
    ledger.add(entry(0, 0, 1, 1000, rejected=filtered, last=True))
    assert ledger.close().rejected == filtered


def test_rejects_equal_to_the_budget_are_allowed() -> None:
    ledger = Ledger(SOURCES[:1], 0.05)
    ledger.add(entry(0, 0, 1, 1000, rejected={"bad_json": 50}, last=True))
    assert ledger.close().rejected == {"bad_json": 50}


MIB = 1 << 20


def cut_up(lines: int, broken: int, chunk_lines: int, size_bytes: int) -> list[Entry]:
    """The chunks of a file whose first lines are broken."""
    entries = []
    for number, first in enumerate(range(1, lines + 1, chunk_lines)):
        count = min(chunk_lines, lines + 1 - first)
        errors = min(count, max(0, broken + 1 - first))
        read = size_bytes * (first - 1 + count) // lines
        entries.append(entry(0, number, first, count, rejected={"bad_json": errors}, bytes_read=read))
    return [*entries[:-1], changed(entries[-1], last=True)]


@pytest.mark.parametrize("chunk_lines", [500, 1000, 4000, 31_500])
@pytest.mark.parametrize("size_bytes", [3 * MIB, 300 * MIB])
def test_budget_applies_to_the_whole_input_for_any_chunk_size(chunk_lines: int, size_bytes: int) -> None:
    sources = [Source(0, "/in/a.gz", size_bytes, "f")]
    for broken, stops in ((400, False), (1575, False), (1576, True)):
        entries = cut_up(31_500, broken, chunk_lines, size_bytes)
        for order in (entries, entries[::-1], random.Random(0).sample(entries, len(entries))):
            ledger = Ledger(sources, 0.05)
            if stops:
                with pytest.raises(ErrorBudgetError, match=r"frac=0\.05 allows: 1,576 bad_json"):
                    take_all(ledger, order)
            else:
                take_all(ledger, order)
                assert ledger.lines == 31_500


def take_all(ledger: Ledger, entries: list[Entry]) -> None:
    for item in entries:
        ledger.add(item)
    ledger.close()


def test_file_with_only_broken_lines_stops_the_job_early() -> None:
    ledger = Ledger([Source(0, "/in/a.gz", 300 * MIB, "f")], 0.05)
    with pytest.raises(ErrorBudgetError, match=r"([\d,]+) of \1 lines"):
        take_all(ledger, cut_up(1_000_000, 1_000_000, 1000, 300 * MIB))
    # The budget is 5% of twice the expected number of lines, one million.
    assert 100_000 <= ledger.lines < 105_000


def test_read_ahead_does_not_count_as_read() -> None:
    # A small file is read completely before its first chunk is emitted.
    ledger = Ledger([Source(0, "/in/a.gz", 300_000, "f")], 0.05)
    ledger.add(entry(0, 0, 1, 4000, rejected={"bad_json": 450}, bytes_read=300_000))
    ledger.add(entry(0, 1, 4001, 6000, bytes_read=300_000, last=True))
    assert ledger.close().lines == 10_000


def test_small_file_over_the_budget_fails_at_the_end() -> None:
    ledger = Ledger(SOURCES[:1], 0.05)
    ledger.add(entry(0, 0, 1, 10, rejected={"bad_json": 1}, last=True))
    with pytest.raises(ErrorBudgetError, match="1 of 10 lines"):
        ledger.close()


def test_progress_is_the_fraction_of_stored_bytes_read() -> None:
    ledger = ledger_of([entry(0, 0, 1, 1, bytes_read=40)])
    assert ledger.done_frac == pytest.approx(40 / 150)
    # Chunks arrive in any order.
    ledger.add(entry(0, 2, 3, 1, bytes_read=90))
    ledger.add(entry(0, 1, 2, 1, bytes_read=60))
    assert ledger.done_frac == pytest.approx(90 / 150)


def test_entry_round_trips_through_json() -> None:
    for item in whole():
        assert Entry.from_json(item.to_json()) == item


def test_example_of_a_reason_is_its_first_line_and_filters_have_none() -> None:
    lines = [
        RejectedLine(9, 80, Reason.BAD_JSON, "late", b"x"),
        RejectedLine(7, 60, Reason.BAD_JSON, "early", b"{\x07\xff" + b"y" * 200),
        RejectedLine(2, 10, Reason.FILTERED_UNVERIFIED, "verified is false", b"y"),
        RejectedLine(5, 40, Reason.EMPTY_TEXT, "nothing", b"z"),
    ]
    header = ChunkHeader(0, "/in/a", 0, 1, 10, last=True, broken=None, bytes_read=5)
    batch = Batch(header, pa.table({"line": [1] * 6}), reject_table("/in/a", 0, lines))
    made = Entry.of(batch, [])
    assert made.examples == {
        "bad_json": "/in/a, line 7: early: { \ufffd" + "y" * 77,
        "empty_text": "/in/a, line 5: nothing: z",
    }
    assert made.rejected == {"bad_json": 2, "filtered_unverified": 1, "empty_text": 1}
    assert made.rows == 6
    assert Entry.of(replace(batch, rejects=None), []).examples == {}


def test_strict_stops_at_an_error_or_a_broken_file_but_not_at_a_filter() -> None:
    ledger = Ledger(SOURCES, 1.0, strict=True)
    ledger.add(entry(0, 0, 1, 10, rejected={"duplicate": 3}))
    with pytest.raises(ErrorBudgetError, match=r"empty_text: /in/a\.gz, line 12: x; input\.strict"):
        ledger.add(
            entry(0, 1, 11, 5, rejected={"empty_text": 1}, examples={"empty_text": "/in/a.gz, line 12: x"})
        )
    with pytest.raises(ErrorBudgetError, match=r"/in/b\.gz: gone at byte 9; input\.strict allows no broken"):
        ledger.add(entry(1, 0, 1, 7, last=True, broken="gone at byte 9"))


def test_counts_are_kept_per_file() -> None:
    counts = ledger_of(whole()).close()
    assert {uri: (f.lines, f.rows, f.rejected) for uri, f in counts.files.items()} == {
        "/in/a.gz": (19, 18, {"empty_text": 1}),
        "/in/b.gz": (7, 7, {}),
    }
    wrong = counts.files["/in/b.gz"].model_copy(update={"rows": 6})
    with pytest.raises(AccountingError, match=r"/in/b\.gz: 7 lines in, but 6 rows and 0 rejected"):
        counts.model_copy(update={"files": counts.files | {"/in/b.gz": wrong}}).check("all")


def test_finished_output_is_checked_against_the_current_budget() -> None:
    counts = Counts(lines=100, rows=90, rejected={"bad_json": 2, "duplicate": 8})
    check_finished(counts, [], 0.02, strict=False)
    with pytest.raises(ErrorBudgetError, match=r"2 of 100 lines rejected, more than .*=0\.01 allows"):
        check_finished(counts, [], 0.01, strict=False)
    with pytest.raises(ErrorBudgetError, match=r"2 lines rejected; input\.strict allows no rejected line"):
        check_finished(counts, [], 0.02, strict=True)
    whole = Counts(lines=98, rows=90, rejected={"duplicate": 8})
    check_finished(whole, [], 0.0, strict=True)
    with pytest.raises(ErrorBudgetError, match=r"^/in/a: truncated; input\.strict allows no broken"):
        check_finished(whole, ["/in/a: truncated"], 0.0, strict=True)


def test_budget_of_csv_is_in_physical_lines() -> None:
    whole = changed(entry(0, 0, 1, 10, rejected={"bad_csv": 1, "repeated_header": 1}), physical_lines=30)
    bad = changed(replace(whole, counts={"extra_error_lines": 4}), last=True)
    other = entry(1, 0, 1, 7, last=True, rejected={"bad_json": 1})
    ledger = ledger_of([bad, other], max_rejected_frac=1.0)
    counts = ledger.close()
    # A record of five lines and one of one line; files of other formats count their records.
    assert (counts.lines, counts.physical_lines, counts.error_lines) == (17, 37, 6)
    assert [f.physical_lines for f in counts.files.values()] == [30, 7]
    check_finished(counts, [], 0.17, strict=False)
    with pytest.raises(ErrorBudgetError, match=r"6 of 37 lines rejected"):
        check_finished(counts, [], 0.16, strict=False)
    with pytest.raises(ErrorBudgetError, match=r"6 of 37 lines rejected"):
        ledger_of([bad, other], max_rejected_frac=0.16).close()
    assert Entry.from_json(bad.to_json()) == bad


def test_entries_of_earlier_versions_have_no_physical_lines() -> None:
    data = entry(0, 0, 1, 10).as_dict()
    del data["physical_lines"]
    assert Entry.of_dict(data).header.budget_lines == 10
