"""Record ends: equal to those of the standard library's CSV reader, for pieces of any size."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.read.chunks import Cutting, read_chunks
from pipeline.ingest.read.csv_records import CsvRecords
from pipeline.ingest.read.csv_scanner import Scanner
from pipeline.ingest.read.csv_syntax import CsvSyntax
from pipeline.ingest.read.cutting import LINES, Rule, cut_records, find_bytes, first_records, with_end
from pipeline.ingest.read.limits import ReadLimits
from pipeline.storage.location import locate

RULE = CsvRecords(CsvSyntax(), 1 << 20)

fields = st.text(alphabet='ab",\n é', max_size=6)
tables = st.lists(st.lists(fields, min_size=1, max_size=3), max_size=8)
soup = st.text(alphabet='a,"\n', max_size=40).map(str.encode)


def written(table: list[list[str]], line_end: str = "\n") -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=line_end).writerows(table)
    return out.getvalue().encode()


def records_of(text: bytes, rule: Rule = RULE) -> list[bytes]:
    ends = rule.ends(text).tolist()
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def records_of_csv_reader(text: bytes) -> list[bytes] | None:
    """Records of csv.reader, from the lines that it consumes for each; None if a quote is misplaced."""
    lines = text.decode().splitlines(keepends=True)
    consumed: list[list[str]] = []
    reader = csv.reader((line for line in lines if consumed.append([line]) or True), strict=True)  # type: ignore[func-returns-value]
    records, done = [], 0
    try:
        for _ in reader:
            records.append("".join(part for (part,) in consumed[done:]).encode())
            done = len(consumed)
    except csv.Error:
        return None
    return records


@given(table=tables, line_end=st.sampled_from(["\n", "\r\n"]))
def test_records_of_a_csv_writer(table: list[list[str]], line_end: str) -> None:
    text = written(table, line_end)
    records = records_of(text)
    assert b"".join(records) == text
    assert records == [written([row], line_end) for row in table]


@given(text=soup)
def test_records_equal_those_of_csv_reader(text: bytes) -> None:
    expected = records_of_csv_reader(text)
    assert expected is None or records_of(text) == expected


syntaxes = st.builds(
    CsvSyntax,
    escape=st.sampled_from([b"", b"", b"\\"]),
    blanks=st.booleans(),
    columns=st.integers(0, 3),
    numeric=st.sampled_from([(), (0,)]),
    line_limit=st.integers(1, 4),
).filter(lambda s: s.columns or not s.numeric)
odd_soup = st.text(alphabet='a1, "\n\r\\', max_size=50).map(str.encode)


@given(text=odd_soup, syntax=syntaxes, limit=st.integers(1, 30), more=st.booleans())
def test_fast_and_slow_path_find_the_same_records(
    text: bytes, syntax: CsvSyntax, limit: int, more: bool
) -> None:
    rule = CsvRecords(syntax, limit)
    slow = Scanner(syntax, limit, text, more=more).scan(find_bytes(text, b"\n")).ends.tolist()
    if more:
        assert rule.last_end(text) == (slow[-1] if slow else 0)
    else:
        assert rule.ends(text).tolist() == with_end(np.array(slow, np.int64), text).tolist()


@given(
    text=st.one_of(odd_soup, tables.map(written)),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    chunk_bytes=st.integers(1, 16),
    limit=st.integers(4, 30),
    syntax=syntaxes,
)
def test_records_do_not_depend_on_pieces_and_chunks(
    text: bytes, cuts: list[int], chunk_bytes: int, limit: int, syntax: CsvSyntax
) -> None:
    rule = CsvRecords(syntax, limit)
    pieces, start = [], 0
    while start < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[start : start + size])
        start += size
    chunks = list(cut_records(pieces, chunk_bytes, rule, max_line_bytes=1 << 20))
    assert b"".join(raw for raw, _ in chunks) == text
    # A task that sees a single chunk finds the same records.
    assert [r for raw, _ in chunks for r in records_of(raw, rule)] == records_of(text, rule)


def test_stray_quote_affects_only_its_record() -> None:
    good = b'"fine, really",5\n'
    text = good + b'"never closed,1\n' + b"plain,2\n" * 50 + b"last,3\n"
    records = records_of(text, CsvRecords(CsvSyntax(columns=2), 100))
    assert records == [good, b'"never closed,1\n', *[b"plain,2\n"] * 50, b"last,3\n"]
    assert records_of(b'5" wide,1\nx,2\n') == [b'5" wide,1\n', b"x,2\n"]


@pytest.mark.parametrize("rule", [LINES, RULE])
def test_first_records(rule: Rule) -> None:
    assert first_records(b"a\nb\nc", 2, rule) == b"a\nb\n"
    assert first_records(b"a\nb\nc", 3, rule) == b"a\nb\nc"
    assert first_records(b"a\nb\nc\n", 9, rule) == b"a\nb\nc\n"
    assert first_records(b'"a\nb"\nc\n', 1, RULE) == b'"a\nb"\n'


@pytest.mark.parametrize("chunk_bytes", [1 << 10, 1 << 16, 1 << 23])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_line_of_100_mib_is_reported_and_not_kept_in_memory(
    tmp_path: Path, chunk_bytes: int, end: bytes
) -> None:
    if chunk_bytes == 1 << 10 and not end:
        return
    size = 100 << 20 if chunk_bytes > 1 << 10 else 3 << 20
    line = b'{"reviewText": "' + b"x" * size
    after = b'{"overall": 5}\n' if end else b""
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"{}\n" + line + end + after, 1))
    chunks = list(read_chunks(locate(tmp_path / "a.gz"), 0, Cutting(chunk_bytes)))
    (long,) = [c for c in chunks if c.skipped_bytes]
    assert len(long.raw) + long.skipped_bytes == len(line + end)
    assert line.startswith(long.raw)
    assert (long.header.first_line, long.byte_offset, long.header.lines) == (2, 3, 1)
    assert max(len(c.raw) for c in chunks) < 2 * chunk_bytes + (1 << 20)
    assert sum(c.header.lines for c in chunks) == 2 + bool(end)
    if end:
        last = chunks[-1]
        assert (last.header.first_line, last.byte_offset, last.raw) == (3, 3 + len(line) + 1, after)


def test_last_chunk_with_lines_reports_the_break(tmp_path: Path) -> None:
    text = b"".join(b'{"overall": %d}\n' % i for i in range(5000))
    (tmp_path / "a.gz").write_bytes(gzip.compress(text)[:-9])
    chunks = list(read_chunks(locate(tmp_path / "a.gz"), 0, Cutting(1 << 14)))
    assert [bool(c.header.broken) for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert all(c.header.lines for c in chunks)
    broken = chunks[-1].header.broken or ""
    lines = sum(c.header.lines for c in chunks)
    assert broken.endswith(f"after {sum(len(c.raw) for c in chunks):,} bytes of text and {lines:,} lines")


def test_message_for_one_line_before_a_break(tmp_path: Path) -> None:
    data = gzip.compress(b'{"overall": 5}\n')
    (tmp_path / "a.gz").write_bytes(data + b"\x1f\x8b\x08\x00" + b"\xff" * 300)
    chunks = list(read_chunks(locate(tmp_path / "a.gz"), 0, Cutting(1 << 14)))
    assert (chunks[-1].header.broken or "").endswith("after 15 bytes of text and 1 line")


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 8), st.booleans())
def test_any_exceeds(sizes: list[int], limit: int, ended: bool) -> None:
    text = b"\n".join(b"x" * size for size in sizes) + b"\n" * ended
    assert LINES.any_exceeds(text, limit) == any(len(line) > limit for line in text.split(b"\n"))


def test_stray_quote_affects_only_its_record_for_any_chunk_size(tmp_path: Path) -> None:
    rows = [b"%d,%d,text %d" % (i, i % 5 + 1, i) for i in range(20_000)]
    # Farther apart than the maximum length of a field; each near the end of some chunk.
    for at in (1069, 8000, 15_000):
        rows[at] = b'%d,1,%s,"stray' % (at, b"y" * 2000)
    (tmp_path / "a.csv").write_bytes(b"\n".join(rows) + b"\n")
    rule = CsvRecords(CsvSyntax(columns=3), 1 << 16)
    for chunk_bytes in (1 << 10, 1 << 13, 1 << 16, 1 << 20):
        cutting = Cutting(chunk_bytes, ReadLimits(1 << 16), rule)
        chunks = list(read_chunks(locate(tmp_path / "a.csv"), 0, cutting))
        assert sum(c.header.lines for c in chunks) == len(rows)
        assert not any(c.skipped_bytes for c in chunks)
