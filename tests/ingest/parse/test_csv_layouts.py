"""CSV as programs write it: what precedes the header, names of rows, blanks, and physical lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.sample import read_sample
from pipeline.ingest.parse.formats import Dialect, ParseOptions
from pipeline.ingest.parse.parse import parse_chunk
from pipeline.ingest.read.chunks import read_chunks
from pipeline.ingest.read.element_syntax import ElementSyntax
from pipeline.storage.location import locate
from tests.detection import detect_format

CONFIG = InputConfig(text=("text",), stars="stars", asin="id")
Rows = list[tuple[str | None, str | None, float | None]]


def read(file: Path, data: bytes, *, chunk_bytes: int = 1 << 20, config: InputConfig = CONFIG) -> Any:
    """(id, text, stars) of each row; reasons of its rejects; physical lines; and its dialect."""
    file.write_bytes(data)
    fmt = detect_format(locate(file), config, need_stars=False)
    assert fmt is not None
    rows, reasons, physical = [], [], 0
    for chunk in read_chunks(locate(file), 0, fmt.dialect.cutting(chunk_bytes)):
        table, rejected = parse_chunk(chunk, fmt, ParseOptions())
        rows += [(r["asin"], r["text"], r["stars"]) for r in table.to_pylist()]
        reasons += [(r.line, r.reason.value) for r in rejected]
        assert chunk.header.physical_lines is not None
        physical += chunk.header.physical_lines
    return rows, reasons, physical, fmt.dialect


def table(
    count: int = 30, form: str = "{},{},{}\n", header: str = "id,text,stars\n", before: str = ""
) -> bytes:
    rows = (
        form.format(i, f"good, number {i}" if '"' in form else f"good {i}", i % 5 + 1) for i in range(count)
    )
    return (before + header + "".join(rows)).encode()


def expected(count: int = 30, *, quoted: bool = False) -> Rows:
    text = "good, number {}" if quoted else "good {}"
    return [(str(i), text.format(i), float(i % 5 + 1)) for i in range(count)]


@pytest.mark.parametrize(
    ("before", "delimiter", "note"),
    [
        ("sep=;\n", ";", "delimiter ; from its line sep="),
        ('"sep=|"\r\n', "|", "delimiter | from its line sep="),
        ("sep=,\n", ",", "delimiter , from its line sep="),
        ("Reviews of a shop\n\n", ",", "2 lines before the header"),
        ("# exported 2020-01-31\n# by a program\n", ",", "2 lines before the header"),
        ("Export;2020\n", ",", "1 line before the header"),
        ("Reviews of a shop,,\n,,\n", ",", "2 lines before the header"),
        ("Shop,,\nfrom,2020,\n\n", ",", "3 lines before the header"),
        ("\n", ",", None),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
def test_lines_before_the_header(
    before: str, delimiter: str, note: str | None, chunk_bytes: int, tmp_path: Path
) -> None:
    data = table(form='{},"{}",{}\n'.replace(",", delimiter), before=before).replace(
        b"id,text,stars", b"id,text,stars".replace(b",", delimiter.encode())
    )
    rows, reasons, physical, dialect = read(tmp_path / "a", data, chunk_bytes=chunk_bytes)
    assert dialect.columns == ("id", "text", "stars")
    assert rows == expected(quoted=True)
    assert reasons == []
    assert physical == data.count(b"\n")
    sample = read_sample(locate(tmp_path / "a"), CONFIG)
    assert sample is not None
    assert note is None or note in sample.notes


def test_first_row_of_a_file_without_a_header_is_no_header(tmp_path: Path) -> None:
    # The title has one field; the first record has values, not names.
    (tmp_path / "a").write_bytes(b"My reviews\n" + table(header=""))
    with pytest.raises(InputError, match="My reviews"):
        detect_format(locate(tmp_path / "a"), CONFIG)


@pytest.mark.parametrize(
    ("header", "form", "first"),
    [
        ('"id","text","stars"\n', '"{0}",{0},"{1}",{2}\n', "row"),
        ("id,text,stars\n", '{0},{0},"{1}",{2}\n', "row"),
        ("id,text,stars\n", 'r{0},{0},"{1}",{2}\n', "row"),
        (",id,text,stars\n", '{0},{0},"{1}",{2}\n', "row"),
        ('"",id,text,stars\n', '"{0}",{0},"{1}",{2}\n', "row"),
        ("id,text,stars\n", '{0},"{1}",{2},\n', "id"),
        ("id,text,stars,\n", '{0},"{1}",{2},\n', "id"),
        ("id,text,stars,,\n", '{0},"{1}",{2},,\n', "id"),
        ("id,text,stars,\n", '{0},"{1}",{2}\n', "id"),
    ],
)
def test_row_names_and_trailing_delimiters(header: str, form: str, first: str, tmp_path: Path) -> None:
    rows, reasons, _, dialect = read(tmp_path / "a", table(form=form, header=header))
    assert reasons == []
    assert rows == expected(quoted=True)
    assert dialect.columns[0] == first
    assert "" not in dialect.columns


def test_unquoted_delimiter_in_every_text_is_not_taken_for_row_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(table(form="{},{}, really,{}\n"))
    _, reasons, _, dialect = read(tmp_path / "a", table(form="{},{}, really,{}\n"))
    assert dialect.columns == ("id", "text", "stars")
    assert {reason for _, reason in reasons} == {"bad_csv"}


@pytest.mark.parametrize("header", ["id, text, stars\n", "id,text,stars\n", " id , text , stars \n"])
@pytest.mark.parametrize("form", ['{}, "{}", {}\n', '{} , "{}" , {}\r\n', "{}, {}, {}\n"])
@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
def test_blanks_around_fields(header: str, form: str, chunk_bytes: int, tmp_path: Path) -> None:
    data = table(form=form, header=header)
    rows, reasons, _, dialect = read(tmp_path / "a", data, chunk_bytes=chunk_bytes)
    assert (dialect.columns, reasons) == (("id", "text", "stars"), [])
    assert rows == expected(quoted='"' in form)


def test_blanks_and_misplaced_quotes(tmp_path: Path) -> None:
    data = table(form='{}, "{}", {}\n').replace(b'"good, number 7"', b'"good "so to say", 7"')
    data = data.replace(b'"good, number 9"', b'"good')
    rows, reasons, _, _ = read(tmp_path / "a", data)
    assert reasons == []
    assert (rows[7][1], rows[9][1]) == ('good "so to say", 7', '"good')
    assert [rows[i] for i in (8, 10)] == [expected(quoted=True)[i] for i in (8, 10)]


@pytest.mark.parametrize("form", ["{},{},{}\n", '{},"{}",{}\n'])
@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
def test_carriage_returns_in_fields(form: str, chunk_bytes: int, tmp_path: Path) -> None:
    data = table(form=form).replace(b"good", b"go\rod")
    rows, reasons, physical, _ = read(tmp_path / "a", data, chunk_bytes=chunk_bytes)
    assert reasons == []
    assert [text.replace("\r", "") for _, text, _ in rows] == [t for _, t, _ in expected(quoted='"' in form)]
    assert physical == 31


@pytest.mark.parametrize("end", ["\r\n", "\r\r\n"])
def test_line_ends_of_windows(end: str, tmp_path: Path) -> None:
    data = table(form='{},"{}",{}\n').replace(b"\n", end.encode())
    assert read(tmp_path / "a", data)[:3] == (expected(quoted=True), [], 31)


def test_header_only(tmp_path: Path) -> None:
    for data in (b"id,text,stars\n", b'"id","text","stars"\r\n', b"\xef\xbb\xbfid,text,stars"):
        assert read(tmp_path / "a", data)[:3] == ([], [], 1)


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
def test_repeated_headers_of_concatenated_files(
    bom: bytes, quoted: bool, chunk_bytes: int, tmp_path: Path
) -> None:
    header = '"id","text","stars"\n' if quoted else "id,text,stars\n"
    one = bom + table(form='{},"{}",{}\n', header=header)
    packed = gzip.compress(one) + gzip.compress(one) + gzip.compress(bom + header.encode())
    rows, reasons, physical, _ = read(tmp_path / "a", packed, chunk_bytes=chunk_bytes)
    assert rows == expected(quoted=True) * 2
    assert reasons == [(31, "repeated_header"), (62, "repeated_header")]
    assert physical == 63


def test_repeated_lines_before_the_header(tmp_path: Path) -> None:
    one = table(form="{};{};{}\n", header="id;text;stars\n", before="sep=;\n")
    rows, reasons, physical, _ = read(tmp_path / "a", one * 2)
    assert rows == expected() * 2
    assert reasons == [(31, "repeated_header"), (32, "repeated_header")]
    assert physical == 64


def test_usual_blank_lines_are_no_errors(tmp_path: Path) -> None:
    data = table(form='{},"{}",{}\n\n')
    rows, reasons, physical, _ = read(tmp_path / "a", data)
    assert rows == expected(quoted=True)
    assert {reason for _, reason in reasons} == {"blank_line"}
    assert physical == 61
    rare = table(200).replace(b"good 50,", b"good 50,1\n\n900,more,")
    assert read(tmp_path / "a", rare)[1] == [(52, "empty_line")]


@pytest.mark.parametrize("end", [b"", b"\n", b"7,too few\n", b'8,"unclosed'])
@pytest.mark.parametrize("chunk_bytes", [20, 100, 1 << 20])
def test_physical_lines_are_those_of_wc(end: bytes, chunk_bytes: int, tmp_path: Path) -> None:
    data = b'id,text,stars\n1,"two\nlines",5\n2,"three\n\nlines",4\n3,one,3\n' + end
    *_, physical, _ = read(tmp_path / "a", data, chunk_bytes=chunk_bytes)
    assert physical == data.count(b"\n") + (not data.endswith(b"\n"))


def test_dialect_round_trips_through_plain_data(tmp_path: Path) -> None:
    *_, dialect = read(tmp_path / "a", table(form='{}, "{}", {}\n', before="sep=,\n"))
    pages = Dialect("elements", 3, elements=ElementSyntax('\n{"é', 1, ("data", "reviews")))
    for written in (dialect, pages, Dialect("elements", elements=ElementSyntax(is_array=True))):
        assert Dialect.of_dict(json.loads(json.dumps(written.as_dict()))) == written
    with pytest.raises(TypeError, match="later"):
        Dialect.of_dict(dialect.as_dict() | {"later": 1})


@pytest.mark.parametrize("again", ["ID,Text,STARS", '"id","text","stars"', '"Id","TEXT","stars"'])
@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
def test_header_in_another_spelling_is_the_header_again(again: str, chunk_bytes: int, tmp_path: Path) -> None:
    data = table() + f"{again}\n".encode() + table().partition(b"\n")[2]
    rows, reasons, *_ = read(tmp_path / "a", data, chunk_bytes=chunk_bytes)
    assert rows == expected() * 2
    assert reasons == [(31, "repeated_header")]


@pytest.mark.parametrize(
    ("header", "empty"), [("id,text,stars,,", ""), ("id,text,stars,date,reply", "date, reply")]
)
@pytest.mark.parametrize("chunk_bytes", [50, 1 << 20])
def test_records_without_the_last_columns(header: str, empty: str, chunk_bytes: int, tmp_path: Path) -> None:
    data = table(form='{},"{}",{}\n', header=f"{header}\n")
    rows, reasons, *_ = read(tmp_path / "a", data, chunk_bytes=chunk_bytes)
    assert (rows, reasons) == (expected(quoted=True), [])
    found = read_sample(locate(tmp_path / "a"), CONFIG)
    assert found is not None
    warning = f"records have 3 fields, but the header has 5; {empty} was taken as empty"
    assert found.warnings == ((warning,) if empty else ())


def test_a_last_field_without_a_name(tmp_path: Path) -> None:
    """The first field is not the name of the row: then the text would be taken for the stars."""
    header = "id,text,stars\n"
    data = table(form="{},{},{},by Ann\n", header=header)
    config = InputConfig(text=("text",), stars="stars", asin="id")
    rows, reasons, _, dialect = read(tmp_path / "a", data, config=config)
    assert (rows, reasons) == (expected(), [])
    assert dialect.columns == ("id", "text", "stars", "column 4")
    found = read_sample(locate(tmp_path / "a"), CONFIG)
    assert found is not None
    assert "; the last field was taken as one without a name" in found.warnings[0]


@pytest.mark.parametrize("count", [20, 20_000])
@pytest.mark.parametrize("quote", ["", '"'])
def test_header_with_columns_in_another_order_is_refused(count: int, quote: str, tmp_path: Path) -> None:
    """Also after the sample: the columns of the records after it are not those that were detected."""
    rows = "".join(f"{i},good {i},{i % 5 + 1}\n" for i in range(count))
    names = ("id", "stars", "text")
    data = "id,text,stars\n" + rows + ",".join(quote + name + quote for name in names) + "\n1,5,fine\n"
    with pytest.raises(
        InputError, match=rf"record {count + 1:,} is a header .* id, stars, text; split the file"
    ):
        read(tmp_path / "a", data.encode())


def test_header_of_a_file_with_named_columns_is_no_record(tmp_path: Path) -> None:
    config = InputConfig(columns=("Id", "Comment", "Score"), text=("Comment",), stars="Score")
    rows = "".join(f"{i},good {i},{i % 5 + 1}\n" for i in range(60))
    found = read(tmp_path / "a", ("Id,Comment,Score\n" + rows).encode(), config=config)
    assert found[0] == [(None, f"good {i}", float(i % 5 + 1)) for i in range(60)]
    assert found[1] == [(1, "repeated_header")]


def test_a_header_with_one_name_is_no_title(tmp_path: Path) -> None:
    data = b"text,,\n" + b"".join(b"works,5,%d\n" % n for n in range(30))
    rows, *_, dialect = read(tmp_path / "a", data, config=InputConfig(text=("text",)))
    assert (dialect.columns, len(rows)) == (("text", "column 2", "column 3"), 30)


TEXTS = ["works, and fits", 'the "best" lamp; really', "fine", '"quoted" at the start', "a\tb|c"]


@pytest.mark.parametrize("chunk_bytes", [20, 1 << 20])
def test_each_line_can_be_a_text(chunk_bytes: int, tmp_path: Path) -> None:
    data = "".join(f"{text}\n" for text in TEXTS * 9).encode()
    config = InputConfig(columns=("text",))
    rows, reasons, physical, _ = read(tmp_path / "a", data, chunk_bytes=chunk_bytes, config=config)
    assert [text for _, text, _ in rows] == TEXTS * 9
    assert (reasons, physical) == ([], len(TEXTS) * 9)


@pytest.mark.parametrize("name", ["text", "review_body", "comments"])
@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("chunk_bytes", [20, 1 << 20])
def test_one_column_with_a_header(name: str, quoted: bool, chunk_bytes: int, tmp_path: Path) -> None:
    texts = TEXTS[:3] if quoted else TEXTS
    lines = ['"{}"'.format(t.replace('"', '""')) if quoted else t for t in texts * 9]
    config = InputConfig(text=("comments",)) if name == "comments" else InputConfig()
    data = "\n".join([name, *lines]).encode()
    rows, reasons, *_ = read(tmp_path / "a", data, chunk_bytes=chunk_bytes, config=config)
    assert [text for _, text, _ in rows] == texts * 9
    assert reasons == []


@pytest.mark.parametrize("texts", [TEXTS, ["no delimiter in this"], ["one, two", "one, two, three", "none"]])
def test_texts_without_a_name_are_refused_with_the_setting(texts: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"neither JSON lines, nor .*; if each line is a text, set input.col"
    ):
        read(tmp_path / "a", "\n".join(texts * 9).encode())
    quoted = "\n".join(f'"{text}"' for text in ["one, two", "one, two, three"] * 9)
    with pytest.raises(
        InputError, match=r"one column, comments; name it with --set input\.text=comments, or"
    ):
        read(tmp_path / "a", f"comments\n{quoted}".encode())


def test_lines_that_are_quoted_as_a_whole_are_refused(tmp_path: Path) -> None:
    data = "".join(f'"{n},good {n},{n % 5 + 1}"\n' for n in range(30))
    with pytest.raises(InputError, match="each line is within quotes as a whole; remove these quotes"):
        read(tmp_path / "a", f'"id,text,stars"\n{data}'.encode())


def test_quotes_at_the_start_of_plain_texts_do_not_merge_lines(tmp_path: Path) -> None:
    lines = [f"text number {n}" for n in range(3000)]
    lines[10], lines[60], lines[2500], lines[2503] = '"5 stars', '6" long', '"Great', 'indeed"'
    for header, config in (([], InputConfig(columns=("text",))), (["text"], InputConfig())):
        data = "\n".join([*header, *lines]).encode()
        rows, reasons, *_ = read(tmp_path / "a", data, config=config)
        assert ([text for _, text, _ in rows], reasons) == (lines, [])


@pytest.mark.parametrize("first", ["[Verified] It works", "{sarcasm} It works", "[5] It works", "[It works]"])
def test_a_text_can_start_like_json(first: str, tmp_path: Path) -> None:
    data = "\n".join([first, *TEXTS]).encode()
    rows, reasons, *_ = read(tmp_path / "a", data, config=InputConfig(columns=("text",)))
    assert ([text for _, text, _ in rows], reasons) == ([first, *TEXTS], [])


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_table_that_is_read_as_texts_is_a_warning(delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(table().replace(b",", delimiter.encode()))
    sample = read_sample(locate(tmp_path / "a"), InputConfig(columns=("text",)))
    assert sample is not None
    assert sample.warnings[0].startswith(
        "each line is read as one text, but most have 3 fields separated by "
    )


@pytest.mark.parametrize("header", ["text,stars,,,", "text,,"])
def test_known_names_are_a_header_even_if_others_are_missing(header: str, tmp_path: Path) -> None:
    count = header.count(",") + 1
    rows = "".join(",".join([f"works {n}", *"wxyz"[: count - 1]]) + "\n" for n in range(30))
    found, reasons, *_ = read(
        tmp_path / "a", f"{header}\n{rows}".encode(), config=InputConfig(text=("text",))
    )
    assert ([text for _, text, _ in found], reasons) == ([f"works {n}" for n in range(30)], [])


def test_records_without_some_fields_do_not_make_quotes_text(tmp_path: Path) -> None:
    """Read without quotes, the comma in a text would make up for the missing field."""
    rows = "".join(
        f'{n},"good, number {n}",{n % 5 + 1}' + (",9\n" if n % 3 == 0 else "\n") for n in range(30)
    )
    found, reasons, *_ = read(tmp_path / "a", f"id,text,stars,votes\n{rows}".encode())
    assert found == [row for row in expected(quoted=True) if int(row[0] or 0) % 3 == 0]
    assert len(reasons) == 20


def test_one_column_of_texts_with_line_ends(tmp_path: Path) -> None:
    texts = [f"works {n}\nreally, it does\n" if n % 2 else f'the "best" {n}' for n in range(30)]
    data = "".join('"{}"\r\n'.format(text.replace('"', '""')) for text in texts)
    for header, config in (("", InputConfig(columns=("text",))), ("text\r\n", InputConfig())):
        rows, reasons, *_ = read(tmp_path / "a", f"{header}{data}".encode(), config=config)
        assert ([text for _, text, _ in rows], reasons) == (texts, [])


def test_backslashes_in_pairs_only_are_a_warning(tmp_path: Path) -> None:
    texts = {r"a \\n b": True, r"\\server\share": False, r"a \n b": False, "a b": False}
    for text, is_warned in texts.items():
        (tmp_path / "a").write_bytes(table(form='{},"{}' + text + '",{}\n'))
        sample = read_sample(locate(tmp_path / "a"), CONFIG)
        assert sample is not None
        assert any("only in pairs" in warning for warning in sample.warnings) == is_warned
