"""CSV and TSV: round trips, malformed records, headers, quoting."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.parse import RecordLocator, parse_chunk
from pipeline.ingest.read.chunks import Cutting, read_chunks
from pipeline.ingest.read.limits import DEFAULT_LIMITS, ReadLimits
from pipeline.storage.location import locate
from tests.detection import detect_format

HEADER = ["id", "title", "body", "rank"]
CONFIG = InputConfig(text=("title", "body"), stars="rank", asin="id")
OPTIONS = ParseOptions(" | ")

US_REVIEWS = (
    "marketplace\tcustomer_id\treview_id\tproduct_id\tproduct_parent\tproduct_title\tproduct_category"
    "\tstar_rating\thelpful_votes\ttotal_votes\tvine\tverified_purchase\treview_headline\treview_body"
    "\treview_date\n"
)


def write(folder: Path, rows: list[list[str]], **options: Any) -> Any:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n", **options).writerows(rows)
    (folder / "a.csv").write_bytes(out.getvalue().encode())
    return locate(folder / "a.csv")


def read(
    file: Any, fmt: Format, chunk_bytes: int = 64, options: ParseOptions = OPTIONS
) -> tuple[list[dict[str, Any]], list[Any]]:
    """All rows and rejects of a file; checks that each record is in exactly one of them, at its offset."""
    whole = file.read_bytes()
    rows, rejected, line = [], [], 1
    for chunk in read_chunks(file, 0, fmt.dialect.cutting(chunk_bytes, options.limits)):
        table, rejected_lines = parse_chunk(chunk, fmt, options)
        assert chunk.header.first_line == line
        assert table.num_rows + len(rejected_lines) == chunk.header.lines
        line += chunk.header.lines
        locator = RecordLocator(chunk, fmt, options)
        for number in table["line"].to_pylist():
            offset, raw = locator.locate(number)
            assert offset is not None
            assert whole.startswith(raw, chunk.byte_offset + offset)
        rows += table.to_pylist()
        rejected += rejected_lines
    return rows, rejected


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=12)


@given(
    table=st.lists(st.tuples(cells, cells, cells, st.integers(1, 5).map(str)), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    chunk_bytes=st.sampled_from([1, 64, 1 << 20]),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, table: list[Any], delimiter: str, chunk_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    rows = [list(row) for row in table]
    file = write(folder, [HEADER, *rows], delimiter=delimiter, quoting=csv.QUOTE_ALL)
    fmt = detect_format(file, CONFIG.model_copy(update={"quoted": True}))
    assert fmt is not None
    assert (fmt.dialect.delimiter, fmt.dialect.columns) == (delimiter, tuple(HEADER))
    found, rejected = read(file, fmt, chunk_bytes)
    assert rejected == []
    assert [(r["asin"], r["text"], r["stars"]) for r in found] == [
        (a or None, " | ".join(x for x in (b, c) if x) or None, float(d)) for a, b, c, d in rows
    ]
    assert [r["line"] for r in found] == list(range(1, len(rows) + 1))


# Small chunks of a long line take long: the line is examined again with each of them.
@pytest.mark.parametrize(
    ("max_line_bytes", "chunk_bytes"), [(1 << 14, 64), (DEFAULT_LIMITS.max_line_bytes, 4 << 20)]
)
def test_malformed_records_are_rejected_one_by_one(
    tmp_path: Path, max_line_bytes: int, chunk_bytes: int
) -> None:
    lines = [
        b"id,title,body,rank",
        b'B1,"Nice, really","two\nlines and a ""quote""",5',
        b"B2,too few",
        b"B3,a,b,1,too many",
        b"",
        b"B4,\xff,b,2",
        b"\xff5,a,b,3",
        b"B6," + b"x" * (2 * max_line_bytes) + b",b,3",
        b"B7,,,4",
        b'B8,5" wide,b,4\r',
    ]
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines) + b"\n")
    file = locate(tmp_path / "a.csv")
    fmt = detect_format(file, CONFIG)
    assert fmt is not None
    options = replace(OPTIONS, limits=ReadLimits(max_line_bytes))
    rows, rejected = read(file, fmt, chunk_bytes, options)
    assert [(r["line"], r["asin"], r["text"], r["stars"]) for r in rows] == [
        (1, "B1", 'Nice, really | two\nlines and a "quote"', 5.0),
        (8, "B7", None, 4.0),
        (9, "B8", '5" wide | b', 4.0),
    ]
    assert [(r.line, r.reason) for r in rejected] == [
        (2, "bad_csv"),
        (3, "bad_csv"),
        (4, "empty_line"),
        (5, "bad_encoding"),
        (6, "bad_encoding"),
        (7, "line_too_long"),
    ]
    assert [r.raw for r in rejected[:5]] == [lines[2], lines[3], lines[4], lines[5], lines[6]]
    assert rejected[0].detail == "2 fields, the header has 4"
    assert rejected[5].raw[:100] == lines[7][:100]


def us_review(stars: object, headline: str, body: str, day: str) -> str:
    return f"US\t77\tR1\tB00\t9\tBelt\tApparel\t{stars}\t0\t0\tN\tY\t{headline}\t{body}\t{day}\n"


def test_amazon_us_reviews_are_unquoted(tmp_path: Path) -> None:
    text = US_REVIEWS + us_review(5, '"Best" belt', 'It is 5" wide, "really', "2015-08-31")
    text += us_review(1, '"Bad"', "no; never<br />again", "2014-01-02") + us_review("x", "", "b", "soon")
    (tmp_path / "a.tsv").write_text(text * 3)
    file = locate(tmp_path / "a.tsv")
    fmt = detect_format(file, InputConfig())
    assert fmt is not None
    assert (fmt.name, str(fmt.dialect), fmt.dialect.quoted) == ("amazon_us_reviews", "TSV", False)
    rows, rejected = read(file, fmt)
    assert [(r.line, r.reason) for r in rejected] == [(4, "repeated_header"), (8, "repeated_header")]
    assert [r["text"] for r in rows[:3]] == [
        '"Best" belt | It is 5" wide, "really',
        '"Bad" | no; never<br />again',
        "b",
    ]
    assert [r["stars"] == r["stars"] for r in rows[:4]] == [True, True, False, True]


def test_amazon_us_review_has_typed_fields(tmp_path: Path) -> None:
    text = US_REVIEWS + us_review(5, "a", "b", "2015-08-31")
    (tmp_path / "a.tsv").write_text(text)
    file = locate(tmp_path / "a.tsv")
    fmt = detect_format(file, InputConfig())
    assert fmt is not None
    ((row,), rejected) = read(file, fmt)
    assert rejected == []
    assert (row["asin"], row["user_id"], row["stars"], row["verified"]) == ("B00", "77", 5.0, True)
    assert row["timestamp"].isoformat() == "2015-08-31T00:00:00+00:00"
    assert row["text"] == "a | b"


def test_tsv_written_by_pandas_is_quoted(tmp_path: Path) -> None:
    rows = [HEADER, ["B1", "t", 'she said "no"\tand left\nat once', "5"], ["B2", "u", "v", "4"]]
    file = write(tmp_path, rows, delimiter="\t")
    fmt = detect_format(file, CONFIG)
    assert fmt is not None
    assert fmt.dialect.quoted
    found, rejected = read(file, fmt)
    assert rejected == []
    assert [r["text"] for r in found] == ['t | she said "no"\tand left\nat once', "u | v"]


def test_columns_of_a_file_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbf"2","Great","really, ""good"""\n"1","Bad","x"\n')
    file = locate(tmp_path / "a.csv")
    config = InputConfig(columns=("rank", "title", "body"), text=("title", "body"), stars="rank")
    fmt = detect_format(file, config)
    assert fmt is not None
    rows, rejected = read(file, fmt)
    assert rejected == []
    assert [(r["stars"], r["text"]) for r in rows] == [(2.0, 'Great | really, "good"'), (1.0, "Bad | x")]
    with pytest.raises(InputError, match=r"fields: .*input\.columns=… if the first line is not a header"):
        detect_format(file, InputConfig())
    with pytest.raises(
        InputError, match=r"has 2 names, but the first line has 3 fields: 2, Great, .really, "
    ):
        detect_format(file, config.model_copy(update={"columns": ("rank", "title")}))


def test_single_column_file_is_read_if_it_is_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("body\nfine, I think\nbad\n")
    file = locate(tmp_path / "a.csv")
    with pytest.raises(InputError, match="neither JSON lines, nor CSV"):
        detect_format(file, InputConfig(), need_stars=False)
    (tmp_path / "a.csv").write_text('body\n"fine, I think"\nbad\n')
    fmt = detect_format(file, InputConfig(text=("body",)), need_stars=False)
    assert fmt is not None
    rows, _ = read(file, fmt)
    assert [r["text"] for r in rows] == ["fine, I think", "bad"]


def test_duplicate_column_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("body,body,rank\na,b,3\n")
    with pytest.raises(InputError, match=r"two columns are named 'body'; .*input\.columns"):
        detect_format(locate(tmp_path / "a.csv"), InputConfig(text=("body",), stars="rank"))


def test_quoted_newlines_are_read_for_any_chunk_size(tmp_path: Path) -> None:
    rows = [[f"B{i}", "t", f'line\n{i},\n"quoted"\n' * (i % 4), str(i % 5 + 1)] for i in range(60)]
    file = write(tmp_path, [HEADER, *rows])
    fmt = detect_format(file, CONFIG)
    assert fmt is not None
    whole = read(file, fmt, 1 << 20)
    assert len(whole[0]) == 60
    assert whole[1] == []
    for chunk_bytes in (1, 7, 100, 1024):
        assert read(file, fmt, chunk_bytes) == whole


def test_truncated_gzip_is_read_up_to_the_break(tmp_path: Path) -> None:
    import gzip

    rows = [[f"B{i}", "t", f"some text, number {i * i}", str(i % 5 + 1)] for i in range(2000)]
    plain = write(tmp_path, [HEADER, *rows]).read_bytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(plain)[:-3000])
    file = locate(tmp_path / "a.gz")
    fmt = detect_format(file, CONFIG)
    assert fmt is not None
    chunks = list(read_chunks(file, 0, Cutting(4096, start_bytes=fmt.dialect.start_bytes)))
    assert chunks[-1].header.broken
    assert plain[fmt.dialect.start_bytes :].startswith(b"".join(c.raw for c in chunks))


def test_invalid_text_in_a_record_with_surplus_fields_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = b"".join(b"%d,Lamp,works,%d\n" % (n, n % 5 + 1) for n in range(40))
    (tmp_path / "a.csv").write_bytes(b"id,title,body,rank\n" + good + b"40,caf\xe9,good,,5\n41,x\xe9,y,1\n")
    file = locate(tmp_path / "a.csv")
    fmt = detect_format(file, CONFIG)
    assert fmt is not None
    rows, rejected = read(file, fmt, chunk_bytes=1 << 20)
    assert len(rows) == 40
    assert [(r.line, r.reason.value) for r in rejected] == [(41, "bad_csv"), (42, "bad_encoding")]
    assert capfd.readouterr().err == ""
