"""Quotes in CSV: strays, inner quotes, escapes and other dialects give the text of the file or a reject."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import InputConfig
from pipeline.ingest.parse.formats import Dialect, ParseOptions
from pipeline.ingest.parse.parse import parse_chunk
from pipeline.ingest.read.chunks import read_chunks
from pipeline.storage.location import locate
from tests.detection import detect_format

CONFIG = InputConfig(text=("text",), stars="stars")
Rows = list[tuple[str | None, float | None]]


def read(
    file: Path, data: bytes, config: InputConfig = CONFIG, chunk_bytes: int = 1 << 20
) -> tuple[Rows, list[Any], Dialect]:
    """(text, stars) of each row of a file; its rejects; and its dialect."""
    file.write_bytes(data)
    fmt = detect_format(locate(file), config, need_stars=False)
    assert fmt is not None
    rows, rejected = [], []
    for chunk in read_chunks(locate(file), 0, fmt.dialect.cutting(chunk_bytes)):
        table, more = parse_chunk(chunk, fmt, ParseOptions())
        assert table.num_rows + len(more) == chunk.header.lines
        rows += [(r["text"], r["stars"]) for r in table.to_pylist()]
        rejected += more
    return rows, rejected, fmt.dialect


def lines(
    count: int, changes: dict[int, str], header: str = "id,text,stars", form: str = "{},{},{}"
) -> bytes:
    """A table of `count` records, some of them replaced."""
    rows = [changes.get(i, form.format(i, f"review number {i}", i % 5 + 1)) for i in range(1, count + 1)]
    return "\n".join([header, *rows, ""]).encode()


def expected(count: int, changes: dict[int, str | None]) -> Rows:
    """Rows of such a table; None for a rejected one."""
    texts = {i: changes.get(i, f"review number {i}") for i in range(1, count + 1)}
    return [(text, float(i % 5 + 1)) for i, text in texts.items() if text is not None]


STRAYS = {
    "closed by a later quoted field": (
        {50: '50,"a lamp,1', 300: '300,"fine, really",1'},
        '"a lamp',
        "fine, really",
    ),
    "never closed": ({50: '50,"a lamp,1'}, '"a lamp', None),
    "closed far away": ({50: '50,"a lamp,1', 300: '300,a mug",1'}, '"a lamp', 'a mug"'),
    "closed two lines on": ({50: '50,"a lamp,1', 52: '52,a mug",3'}, '"a lamp', 'a mug"'),
    "in the first record": ({1: '1,"a lamp,2', 5: '5,"b, c",1'}, '"a lamp', "b, c"),
    "in the last record": ({1: '1,"b, c",2', 400: '400,"a lamp,1'}, "b, c", '"a lamp'),
    "empty quoted field later": ({50: '50,"a lamp,1', 60: '60,"",1'}, '"a lamp', ""),
    "doubled quotes later": ({50: '50,"a lamp,1', 60: '60,"so ""x""",1'}, '"a lamp', 'so "x"'),
    "closed by the first half": ({50: '50,"a lamp,1', 60: '60,", so",1'}, '"a lamp', ", so"),
    "around a word": ({50: '50,"Best" lamp,1'}, '"Best" lamp', None),
    "within an unquoted field": ({50: '50,5" lamp,1', 60: '60,3" by 5" tall,1'}, '5" lamp', '3" by 5" tall'),
}


@pytest.mark.parametrize("name", STRAYS)
@pytest.mark.parametrize("chunk_bytes", [100, 1 << 20])
def test_stray_quote_is_text(name: str, chunk_bytes: int, tmp_path: Path) -> None:
    changes, *texts = STRAYS[name]
    rows, rejected, dialect = read(tmp_path / "a", lines(400, changes), chunk_bytes=chunk_bytes)
    assert dialect.quoted
    assert rejected == []
    known = dict(zip(changes, texts, strict=False))
    assert rows == [(t or None, s) for t, s in expected(400, known)]


@pytest.mark.parametrize("chunk_bytes", [10_000, 1 << 20])
def test_stray_quotes_after_the_sample_are_text(chunk_bytes: int, tmp_path: Path) -> None:
    changes: dict[int, str] = {}
    known: dict[int, str | None] = {}
    for at, (found, *texts) in enumerate(STRAYS.values(), start=30):
        moved = {i + 400 * at: line.replace(f"{i},", f"{i + 400 * at},", 1) for i, line in found.items()}
        changes |= moved
        known |= dict(zip(moved, texts, strict=False))
    count = 400 * (30 + len(STRAYS))
    rows, rejected, _ = read(tmp_path / "a", lines(count, changes), chunk_bytes=chunk_bytes)
    assert rejected == []
    assert rows == [(t or None, s) for t, s in expected(count, known)]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('50,"He said "hi", ok",1', 'He said "hi", ok'),
        ('50,"He said "hi" to us",1', 'He said "hi" to us'),
        ('50,""Best" lamp",1', '"Best" lamp'),
        ('50,"the "Best"",1', 'the "Best"'),
        ('50,"5" wide",1', '5" wide'),
        ('50,"so ""good"", or "bad", ok",1', 'so "good", or "bad", ok'),
        ('50,"two\nlines, "so" to say",1', 'two\nlines, "so" to say'),
        ('50,"She said "yes"\nand, well, "no" and left",1', 'She said "yes"\nand, well, "no" and left'),
        (r'50,"a 5\" lamp, ""wide""",1', 'a 5" lamp, "wide"'),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [100, 1 << 20])
def test_inner_quotes_of_a_quoted_field_are_text(
    line: str, text: str, chunk_bytes: int, tmp_path: Path
) -> None:
    data = lines(400, {50: line}, form='{},"{}",{}')
    rows, rejected, _ = read(tmp_path / "a", data, chunk_bytes=chunk_bytes)
    assert rejected == []
    assert rows == expected(400, {50: text})


@pytest.mark.parametrize(
    "line",
    [
        '50,"a","b",1',
        '50,a,"b",c,1',
        '50,"a lamp",1,"',
        '50,a lamp,"1',
        '"50,a lamp,1',
        '50,"so, "he said,1',
        '50,"x"y"",z,1',
    ],
)
def test_record_without_a_certain_reading_is_the_only_one_rejected(line: str, tmp_path: Path) -> None:
    rows, rejected, _ = read(tmp_path / "a", lines(400, {50: line}))
    assert [(r.line, r.reason, r.raw) for r in rejected] == [(50, "bad_csv", line.encode())]
    assert rows == expected(400, {50: None})


def test_many_strays_do_not_change_the_dialect(tmp_path: Path) -> None:
    changes = {i: f'{i},"a lamp {i},{i % 5 + 1}' for i in range(7, 400, 13)}
    changes |= {i: f'{i},"fine, {i}",{i % 5 + 1}' for i in range(3, 400, 13)}
    rows, rejected, dialect = read(tmp_path / "a", lines(400, changes))
    assert (dialect.quoted, rejected) == (True, [])
    texts = {i: f'"a lamp {i}' for i in range(7, 400, 13)} | {i: f"fine, {i}" for i in range(3, 400, 13)}
    assert rows == expected(400, texts)


@pytest.mark.parametrize("at", [1, 200, 20_000])
def test_long_text_of_a_clean_file_stays_one_record(at: int, tmp_path: Path) -> None:
    text = "\n".join(f"line {n}, and, more" for n in range(60))
    data = lines(at + 200, {at: f'{at},"{text}",{at % 5 + 1}'})
    rows, rejected, _ = read(tmp_path / "a", data, chunk_bytes=10_000)
    assert rejected == []
    assert rows == expected(at + 200, {at: text})


def test_line_limit_follows_from_the_sample(tmp_path: Path) -> None:
    long = "\n".join("x" for _ in range(30))
    for data, limit in ((lines(9, {}), 8), (lines(9, {4: f'4,"{long}",1'}), 60)):
        assert read(tmp_path / "a", data)[2].line_limit == limit
    # A stray that swallows lines in the sample does not count.
    assert read(tmp_path / "a", lines(400, STRAYS["closed far away"][0]))[2].line_limit == 8


ESCAPED = {
    r"5\" lamp": '5" lamp',
    r"so \"good\", really": 'so "good", really',
    r"\"all\"": '"all"',
    r"C:\\new": r"C:\new",
    r"C:\new": r"C:\new",
    r"ends with \\": "ends with \\",
    "two\nlines": "two\nlines",
    'doubled ""too""': 'doubled "too"',
}


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("chunk_bytes", [100, 1 << 20])
def test_escaped_quotes_of_spark_and_mysql(delimiter: str, chunk_bytes: int, tmp_path: Path) -> None:
    changes = {i: delimiter.join((str(i), f'"{raw}"', str(i % 5 + 1))) for i, raw in enumerate(ESCAPED, 7)}
    form = delimiter.join(("{}", '"{}"', "{}"))
    data = lines(100, changes, header=delimiter.join(("id", "text", "stars")), form=form)
    rows, rejected, dialect = read(tmp_path / "a", data, chunk_bytes=chunk_bytes)
    assert (dialect.escape, dialect.delimiter) == ("\\", delimiter)
    assert rejected == []
    assert rows == expected(100, dict(enumerate(ESCAPED.values(), 7)))


def test_escapes_outside_quotes_and_nulls(tmp_path: Path) -> None:
    changes = {3: "3,one\\, two,4", 4: "4,two\\\nlines,5", 5: "5,\\N,1", 6: "6,back\\\\slash,2"}
    rows, rejected, dialect = read(tmp_path / "a", lines(50, changes))
    assert dialect.escape == "\\"
    assert rejected == []
    texts = {3: "one, two", 4: "two\nlines", 5: "", 6: "back\\slash"}
    assert rows == [(t or None, s) for t, s in expected(50, texts)]


def test_escape_setting(tmp_path: Path) -> None:
    data = lines(50, {5: '5,"a ^"b^" c, d",1'}, form='{},"{}",{}')
    rows, rejected, _ = read(tmp_path / "a", data, CONFIG.model_copy(update={"escape": "^"}))
    assert rejected == []
    assert rows == expected(50, {5: 'a "b" c, d'})
    data = lines(50, {5: '5,"C:\\",1', 6: r'6,"a \"b",2'}, form='{},"{}",{}')
    _, _, dialect = read(tmp_path / "a", data, CONFIG.model_copy(update={"escape": "none"}))
    assert dialect.escape == ""


def test_backslash_of_a_clean_file_is_text(tmp_path: Path) -> None:
    changes = {5: '5,"C:\\",1', 6: '6,"say \\""hi\\""",2', 7: "7,a\\b,3"}
    rows, rejected, dialect = read(tmp_path / "a", lines(50, changes))
    assert (dialect.escape, rejected) == ("", [])
    assert rows == expected(50, {5: "C:\\", 6: 'say \\"hi\\"', 7: "a\\b"})


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, csv.QUOTE_MINIMAL])
def test_single_quotes(quoting: Any, tmp_path: Path) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quotechar="'", quoting=quoting, lineterminator="\n")
    texts = [f'it\'s number {i}, "so" to say' if i % 3 else f"'twas\n{i}" for i in range(50)]
    writer.writerows([("id", "text", "stars"), *((i, t, i % 5 + 1) for i, t in enumerate(texts))])
    rows, rejected, dialect = read(tmp_path / "a", out.getvalue().encode(), chunk_bytes=200)
    assert (dialect.quote, rejected) == ("'", [])
    assert rows == [(t, float(i % 5 + 1)) for i, t in enumerate(texts)]


def test_apostrophes_are_text(tmp_path: Path) -> None:
    changes = {3: "3,'tis fine,4", 4: "4,the boys',5", 5: "5,'so',1"}
    rows, rejected, dialect = read(tmp_path / "a", lines(50, changes))
    assert (dialect.quote, rejected) == ('"', [])
    assert rows == expected(50, {3: "'tis fine", 4: "the boys'", 5: "'so'"})


@pytest.mark.parametrize(
    "data",
    [b'"' * (1 << 19), b'"a,' * (1 << 17), b'5,"\n' * (1 << 13), b'x"",' * (1 << 17)],
    ids=["quotes", "fields", "lines", "doubled"],
)
def test_time_for_odd_text_is_bounded(data: bytes, tmp_path: Path) -> None:
    whole = lines(20, {}) + data + b"\n" + lines(20, {})
    start = time.monotonic()
    rows, _, _ = read(tmp_path / "a", whole)
    assert time.monotonic() - start < 5
    assert rows[:19] == expected(20, {})[:19]
    assert rows[-19:] == expected(20, {})[-19:]


characters = st.sampled_from([*"ab .,;|\t'\"\\\n", "é"])
texts = st.text(characters, min_size=1, max_size=12).map(lambda t: t.strip() or "x")
tables = st.lists(texts, min_size=8, max_size=20)


@st.composite
def dialects(draw: st.DrawFn, *, escapes: bool) -> dict[str, Any]:
    escaped = escapes and draw(st.booleans())
    return {
        "delimiter": draw(st.sampled_from(",;|\t")),
        "quoting": draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
        **({"escapechar": "\\", "doublequote": False} if escaped else {}),
    }


def written(texts: list[str], dialect: dict[str, Any]) -> list[bytes]:
    """The header and each record, as the csv module writes them."""
    records = []
    rows = [("id", "text", "stars"), *((i, t, i % 5 + 1) for i, t in enumerate(texts, start=1))]
    for row in rows:
        out = io.StringIO(newline="")
        csv.writer(out, **dialect).writerow(row)
        records.append(out.getvalue().encode())
    return records


@given(table=tables, dialect=dialects(escapes=True))
def test_clean_files_lose_nothing(
    table: list[str], dialect: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("csv") / "a"
    escape = "\\" if "escapechar" in dialect else "none"
    config = CONFIG.model_copy(update={"escape": escape, "quoted": True})
    rows, rejected, _ = read(file, b"".join(written(table, dialect)), config)
    assert rejected == []
    assert rows == [(t or None, float(i % 5 + 1)) for i, t in enumerate(table, start=1)]


@given(table=tables, dialect=dialects(escapes=False), data=st.data())
def test_stray_quotes_change_no_other_row(
    table: list[str], dialect: dict[str, Any], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    records = written(table, dialect)
    number = data.draw(st.integers(1, len(table)))
    raw = records[number]
    at = data.draw(st.integers(0, len(raw) - 1))
    records[number] = raw[:at] + b'"' + raw[at:]
    file = tmp_path_factory.mktemp("csv") / "a"
    rows, _, _ = read(file, b"".join(records), CONFIG.model_copy(update={"escape": "none", "quoted": True}))
    whole = {(t or None, float(i % 5 + 1)) for i, t in enumerate(table, start=1) if i != number}
    others = [row for row in rows if row not in whole]
    # Without the stray, a line end of its text may be the end of a record.
    assert len(others) <= raw.count(b"\n")
    # A stray in a number can swallow a neighbor if a text begins or ends with a delimiter.
    assert len(rows) >= len(table) - 3
