"""JSON arrays, documents and objects in any layout: detected, and read as their records say."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError
from pipeline.ingest.detect.detect import Needs, detect_file
from pipeline.ingest.parse.formats import Format, ParseOptions
from pipeline.ingest.parse.parse import RecordLocator, parse_chunk
from pipeline.ingest.parse.rejects import RejectedLine
from pipeline.ingest.read.chunks import read_chunks
from pipeline.ingest.read.limits import ReadLimits
from pipeline.storage.location import locate
from tests.detection import detect_format

RECORDS: list[dict[str, Any]] = [
    {
        "stars": n % 5 + 1,
        "text": f'r {{{n}}} [a] "q" \\ é, }},',
        "images": [{"url": "x"}, {"url": "y"}],
        "votes": {"stars": 1},
    }
    for n in range(7)
]
LINES = [json.dumps(record) for record in RECORDS]
LAYOUTS = {
    "array": (json.dumps(RECORDS), "JSON array"),
    "compact array": (json.dumps(RECORDS, separators=(",", ":")), "JSON array"),
    "array of lines": ("[\n" + ",\n".join(LINES) + "\n]\n", "JSON array"),
    "array of lines without lines of brackets": ("[" + ",\n".join(LINES) + "]", "JSON array"),
    "array with leading commas": ("[" + "\n,".join(LINES) + "\n]", "JSON array"),
    "pretty-printed array": (json.dumps(RECORDS, indent=2), "JSON array"),
    "array without indentation": (json.dumps(RECORDS, indent=0), "JSON array"),
    "pretty-printed array with CRLF": (json.dumps(RECORDS, indent=2).replace("\n", "\r\n"), "JSON array"),
    "array after blank lines": ("\n\n  " + json.dumps(RECORDS, indent=1), "JSON array"),
    "array without its end": (json.dumps(RECORDS)[:-1], "JSON array"),
    "two arrays": (json.dumps(RECORDS[:3]) + "\n" + json.dumps(RECORDS[3:]), "JSON array"),
    "list": (
        json.dumps({"count": 7, "reviews": RECORDS, "next": None, "links": ["a", {}]}),
        "JSON list reviews",
    ),
    "pretty-printed list": (
        json.dumps({"a": [1], "reviews": RECORDS, "b": {}}, indent=2),
        "JSON list reviews",
    ),
    "list in two objects": (
        json.dumps({"a": [{"x": 1}], "data": {"items": RECORDS, "z": 1}, "facets": [{"n": 1}]}, indent=1),
        "JSON list data.items",
    ),
    "list for each page": (
        "\n".join(json.dumps({"page": n, "reviews": RECORDS[n : n + 1]}) for n in range(7)),
        "JSON list reviews",
    ),
    "pandas table": (
        json.dumps(
            {"schema": {"fields": [{"name": "x" * 99}] * 99, "primaryKey": ["index"]}, "data": RECORDS}
        ),
        "JSON list data",
    ),
    "objects without separators": ("".join(LINES), "JSON objects"),
    "objects in one line": (" ".join(LINES), "JSON objects"),
    "objects with commas": (",\n".join(LINES), "JSON objects"),
    "objects with commas, also the last": (",\n".join(LINES) + ",\n", "JSON objects"),
    "pretty-printed objects": ("\n".join(json.dumps(r, indent=2) for r in RECORDS), "JSON objects"),
    "JSON text sequence": ("".join(f"\x1e{line}\n" for line in LINES), "JSON objects"),
    "two objects in one line": (LINES[0] + "\n".join(LINES[1:]), "JSON objects"),
    "JSON lines": ("\n".join(LINES), "JSON lines"),
}
SIZES = [40, 1 << 20]


def read(
    file: Path, chunk_bytes: int = 1 << 20, max_line_bytes: int = 1 << 20, **settings: Any
) -> tuple[Format, list[dict[str, Any]], list[tuple[int, int, str, bytes]]]:
    """Format, rows, and the line, offset, reason and content of rejected records; checks their positions."""
    fmt = detect_format(locate(file), InputConfig(**settings), need_stars=False)
    assert fmt is not None
    options = ParseOptions(limits=ReadLimits(max_line_bytes))
    rows, rejected, line = [], [], 1
    for chunk in read_chunks(locate(file), 0, fmt.dialect.cutting(chunk_bytes, options.limits)):
        assert chunk.header.first_line == line
        line = chunk.header.next_line
        table, rejects = parse_chunk(chunk, fmt, options)
        rows += table.to_pylist()
        rejected += [(r.line, chunk.byte_offset + r.byte_offset, r.reason.value, r.raw) for r in rejects]
        check_positions(RecordLocator(chunk, fmt, options), rejects)
    assert sorted([*(r["line"] for r in rows), *(r[0] for r in rejected)]) == list(range(1, line))
    return fmt, rows, rejected


def check_positions(locator: RecordLocator, rejects: list[RejectedLine]) -> None:
    for reject in rejects:
        if reject.reason != "line_too_long":
            assert locator.locate(reject.line) == (reject.byte_offset, reject.raw)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_records_of_every_layout(layout: str, tmp_path: Path) -> None:
    text, dialect = LAYOUTS[layout]
    expected = [(n, r["text"], r["stars"]) for n, r in enumerate(RECORDS, start=1)]
    data = text.encode()
    (tmp_path / "a").write_bytes(data)
    for chunk_bytes in SIZES:
        fmt, rows, rejected = read(tmp_path / "a", chunk_bytes)
        assert (fmt.name, str(fmt.dialect), rejected) == ("yelp", dialect, [])
        assert [(r["line"], r["text"], r["stars"]) for r in rows] == expected
    for stored in (b"\xef\xbb\xbf" + data, gzip.compress(data), pa.compress(data, "zstd", asbytes=True)):
        (tmp_path / "a").write_bytes(stored)
        assert read(tmp_path / "a")[1:] == (rows, [])


def broken(text: str, target: int) -> list[str]:
    """A layout without a quote or a bracket of one record, with one bracket more, and with garbage in it."""
    start = text.index(json.dumps(RECORDS[target]["text"]))
    quote = text.rindex('"', start, text.index('"images"', start))
    brace = text.index("}", text.index('"votes"', start))
    parts = [(quote, ""), (brace, ""), (start, 'oops"')]
    if target > 1:
        # Among the first two elements, it ends the document around the list.
        parts.append((brace, "}}"))
    return [text[:at] + new + text[at + 1 :] for at, new in parts]


@pytest.mark.parametrize("target", [1, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_broken_record_does_not_affect_others(layout: str, target: int, tmp_path: Path) -> None:
    for text in broken(LAYOUTS[layout][0], target):
        (tmp_path / "a").write_bytes(text.encode())
        results = [read(tmp_path / "a", size)[1:] for size in SIZES]
        assert all(result == results[0] for result in results)
        rows, rejected = results[0]
        texts = [row["text"] for row in rows if row["text"] and row["text"] != RECORDS[target]["text"]]
        assert texts == [r["text"] for n, r in enumerate(RECORDS) if n != target]
        assert "bad_json" in {reason for _, _, reason, _ in rejected} or "}}" in text


@pytest.mark.parametrize("size", [7, *SIZES])
def test_wrong_elements_and_garbage_are_rejected(size: int, tmp_path: Path) -> None:
    elements = [LINES[0], "17", "null", '"a, {b}"', "[1, {}]", LINES[1], '{"text": "x" "y"}', LINES[2]]
    text = "[\n" + ",\n".join(elements) + "\noops, no JSON ]}\n" + LINES[3] + '\n, {"text": "cut'
    (tmp_path / "a").write_text(text)
    _, rows, rejected = read(tmp_path / "a", size)
    assert [(r["line"], r["text"]) for r in rows] == [
        (line, RECORDS[n]["text"]) for line, n in ((1, 0), (6, 1), (8, 2), (10, 3))
    ]
    bad = [(2, "17"), (3, "null"), (4, '"a, {b}"'), (5, "[1, {}]")]
    expected = [(line, text.index(raw), "not_an_object", raw.encode()) for line, raw in bad]
    for line, raw in ((7, '{"text": "x" "y"}'), (9, "oops, no JSON ]}"), (11, '{"text": "cut')):
        expected.append((line, text.index(raw), "bad_json", raw.encode()))
    assert rejected == sorted(expected)


@pytest.mark.parametrize(
    ("chunk_bytes", "indent", "end"), [(1 << 18, None, ""), (1 << 18, 1, '"}'), (1 << 23, None, '"}')]
)
def test_long_element_is_reported_and_not_kept(
    chunk_bytes: int, indent: int | None, end: str, tmp_path: Path
) -> None:
    """Of 2 MB in a string or in many short values, valid or without its end."""
    for value in ('"' + '\\"{[' * 500_000, "[" + "1, \n" * 500_000 + '1], "x": "'):
        before, after = (json.dumps(part, indent=indent)[1:-1] for part in (RECORDS[:3], RECORDS[3:]))
        long = '{"stars": 5, "text": ' + value + end
        text = f"[{before},{long},{after}]"
        (tmp_path / "a").write_text(text)
        fmt, rows, rejected = read(tmp_path / "a", chunk_bytes)
        line, offset, reason, raw = rejected[0]
        assert [r["text"] for r in rows] == [r["text"] for r in RECORDS]
        assert (len(rejected), line, offset, reason) == (1, 4, text.index(long), "line_too_long")
        assert long.encode().startswith(raw[:4096])
        for chunk in read_chunks(locate(tmp_path / "a"), 0, fmt.dialect.cutting(chunk_bytes)):
            assert len(chunk.raw) < (2 << 20) + 2 * chunk_bytes


@pytest.mark.parametrize("chunk_bytes", [1 << 16, 1 << 20, 1 << 23])
def test_long_text_around_the_list_belongs_to_no_record(chunk_bytes: int, tmp_path: Path) -> None:
    filler = ["x" * 99, {"y": "}"}] * 30_000
    text = json.dumps({"a": [1], "reviews": RECORDS, "z": filler}) + json.dumps({"reviews": RECORDS[:2]})
    (tmp_path / "a").write_text(json.dumps({"reviews": RECORDS * 600}) + text)
    _, rows, rejected = read(tmp_path / "a", chunk_bytes)
    assert [r["text"] for r in rows] == [r["text"] for r in RECORDS * 600 + RECORDS + RECORDS[:2]]
    assert rejected == []


def test_long_first_element(tmp_path: Path) -> None:
    records = [{"stars": 1, "text": "x" * 300_000}, *RECORDS]
    for text in (json.dumps(records), json.dumps(records, indent=1), ",\n".join(map(json.dumps, records))):
        (tmp_path / "a").write_text(text)
        _, rows, rejected = read(tmp_path / "a")
        assert ([r["text"] for r in rows], rejected) == ([r["text"] for r in records], [])


def test_object_with_a_list_of_objects_is_a_record(tmp_path: Path) -> None:
    record = {"stars": 5, "text": "x", "images": [{"url": "y" * 99}] * 9}
    for text in (
        json.dumps(record),
        json.dumps(record, indent=1),
        json.dumps(record) + "\n" + json.dumps(record),
    ):
        (tmp_path / "a").write_text(text)
        _, rows, _ = read(tmp_path / "a")
        assert {r["text"] for r in rows} == {"x"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["a", "b"], "an array of strings, not of objects"),
        ([[1, "a"], [2, "b"]], "an array of lists"),
        ([1, 2], "an array of numbers"),
        ([None], "an array of nulls"),
        ([], "an empty JSON array"),
    ],
)
def test_arrays_of_other_values_are_refused(value: Any, words: str, tmp_path: Path) -> None:
    for indent in (None, 1):
        (tmp_path / "a").write_text(json.dumps(value, indent=indent))
        with pytest.raises(InputError, match=words.replace("an array", "a JSON array")):
            read(tmp_path / "a")


def pages(*documents: Any) -> str:
    return "\n".join(map(json.dumps, documents))


@pytest.mark.parametrize("size", [7, *SIZES])
@pytest.mark.parametrize("indent", [None, 1])
def test_elements_of_later_pages_may_start_with_other_fields(
    size: int, indent: int | None, tmp_path: Path
) -> None:
    first = {"page": 1, "data": {"reviews": RECORDS[:3], "n": 3}, "next": '"reviews": [{'}
    other = {"data": {"reviews": [{"id": 7, **r} for r in RECORDS[3:5]]}}
    third = {"data": {"n": 0, "reviews": []}, "facets": [{"stars": 5}, {"stars": 4}]}
    deeper = {"data": {"related": {"reviews": [{"text": "deeper", "stars": 2}]}, "n": 1}, "z": [1]}
    fourth = {"data": {"facets": [{"stars": 5}], "reviews": [{"text": "last", "stars": 1}]}}
    documents = (first, other, third, deeper, fourth)
    for separator in ("\n", "", ",\n"):
        text = separator.join(json.dumps(d, indent=indent) for d in documents)
        (tmp_path / "a").write_text(text)
        _, rows, rejected = read(tmp_path / "a", size)
        assert [r["text"] for r in rows] == [*(r["text"] for r in RECORDS[:5]), "deeper", "last"]
        assert rejected == []


@pytest.mark.parametrize("size", [7, *SIZES])
def test_document_without_the_list_is_a_rejected_record(size: int, tmp_path: Path) -> None:
    error = {"error": {"code": 429, "reasons": [{"stars": 0}]}}
    text = pages({"reviews": RECORDS[:3]}, error, {"reviews": RECORDS[3:5]}, [{"stars": 1}], error)
    text += "\noops\n" + pages({"reviews": RECORDS[5:]})
    (tmp_path / "a").write_text(text)
    _, rows, rejected = read(tmp_path / "a", size)
    read_texts = [(r["line"], r["text"]) for r in rows if r["text"]]
    lines = [1, 2, 3, 5, 6, 10, 11]
    assert read_texts == [(line, r["text"]) for line, r in zip(lines, RECORDS, strict=True)]
    # A row without a text is rejected as missing_text.
    assert [r["line"] for r in rows if r["text"] is None] == [4, 8]
    assert [(line, reason) for line, _, reason, _ in rejected] == [(7, "not_an_object"), (9, "bad_json")]


@pytest.mark.parametrize("size", [7, *SIZES])
@pytest.mark.parametrize("stray", ["]", "]}", "}", "]]"])
@pytest.mark.parametrize("path", [("reviews",), ("data", "reviews")])
def test_stray_bracket_after_an_element_loses_nothing(
    path: tuple[str, ...], stray: str, size: int, tmp_path: Path
) -> None:
    document: Any = RECORDS
    for key in reversed(path):
        document = {key: document}
    text = json.dumps(document)
    at = text.index(LINES[4]) + len(LINES[4])
    (tmp_path / "a").write_text(text[:at] + stray + text[at:])
    _, rows, _ = read(tmp_path / "a", size)
    assert [r["text"] for r in rows] == [r["text"] for r in RECORDS]


@pytest.mark.parametrize("has_nested", [0, 400])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_broken_element_in_one_line_yields_no_row_from_a_nested_object(
    has_nested: int, separators: tuple[str, str], tmp_path: Path
) -> None:
    """Nested objects start like the elements, from the first or only from the element 400 on."""
    records = [
        {
            "stars": n % 5 + 1,
            "text": f"review {n} " + "x" * 600,
            **({"reply": {"stars": 1, "text": "nested"}} if n >= has_nested else {}),
        }
        for n in range(500)
    ]
    elements = [json.dumps(r, separators=separators) for r in records]
    for wrong in ('oops"', '"', "{"):
        broken_one = elements[450].replace('"text"', wrong, 1)
        text = "[" + separators[0].join([*elements[:450], broken_one, *elements[451:]]) + "]"
        (tmp_path / "a").write_text(text)
        results = [read(tmp_path / "a", size)[1:] for size in (1 << 12, 1 << 20)]
        assert results[0] == results[1]
        rows, rejected = results[0]
        expected = {r["text"] for n, r in enumerate(records) if n != 450}
        assert {r["text"] for r in rows} <= expected
        assert len(expected) - len(rows) <= 1
        assert {reason for _, _, reason, _ in rejected} <= {"bad_json", "not_an_object"}
        assert rejected


@pytest.mark.parametrize(("count", "size"), [(7, 7), (7, 1 << 20), (3000, 1 << 15)])
def test_similar_lists_of_one_document_are_read(count: int, size: int, tmp_path: Path) -> None:
    """Reviews by product; of 3,000 reviews, the first list is longer than the sample."""
    reviews = [{"stars": n % 5 + 1, "text": f"review {n}, " + "x" * 90} for n in range(count)]
    document = {"shop": {"n": 3}, "B1": reviews[:-4], "B2": [], "B3": reviews[-4:-2], "B4": reviews[-2:]}
    (tmp_path / "a").write_text(json.dumps({**document, "facets": [{"name": "x", "n": 1}], "end": 1}))
    fmt, rows, rejected = read(tmp_path / "a", size)
    assert str(fmt.dialect) == "JSON list B1"
    assert [r["text"] for r in rows] == [r["text"] for r in reviews]
    assert rejected == []


@pytest.mark.parametrize("size", [61, 900, 1 << 15, 1 << 20])
def test_pages_with_lists_of_other_keys_are_read(size: int, tmp_path: Path) -> None:
    """Chunks end between a record and the next list, whose key is not that of the first one."""
    reviews = [{"stars": n % 5 + 1, "text": f"review {n} " + "x" * 300} for n in range(300)]
    documents = [{f"B{n}": reviews[n : n + 2], f"B{n}b": reviews[n + 2 : n + 3]} for n in range(0, 300, 3)]
    (tmp_path / "a").write_text(pages(*documents))
    _, rows, rejected = read(tmp_path / "a", size)
    assert [r["text"] for r in rows] == [r["text"] for r in reviews]
    assert rejected == []


@pytest.mark.parametrize("size", [7, 1 << 20])
def test_similar_lists_may_start_with_other_fields(size: int, tmp_path: Path) -> None:
    nested = [
        {"text": "c", "stars": 3, "replies": [{"stars": 5, "text": "NESTED"}]},
        {"text": "d", "stars": 4},
    ]
    document = {"B1": [{"stars": 1, "text": "a"}, {"stars": 2, "text": "b"}], "B2": nested}
    (tmp_path / "a").write_text(json.dumps(document))
    found = detect_file(locate(tmp_path / "a"), InputConfig(), Needs())
    assert found is not None
    assert any("2 lists are read as reviews: B1, B2;" in warning for warning in found.warnings)
    _, rows, rejected = read(tmp_path / "a", size)
    assert ([r["text"] for r in rows], rejected) == (["a", "b", "c", "d"], [])


@pytest.mark.parametrize("size", [7, 1 << 20])
@pytest.mark.parametrize(
    "bad",
    [
        '"stars": 3, "text": "c", "reply": {"stars": 9, "text": "NEST"}}',
        '{"stars": 3, "text": "c"}, "reply": {"stars": 9, "text": "NEST"}}',
        '{"stars": 3, "text": "c\n }x", "reply": {"stars": 9, "text": "NEST"}}',
        '{"stars": 4, "text"]: "d", "rs": [{"stars": 9, "text": "NEST"}]}',
    ],
)
def test_value_in_a_broken_element_is_no_element(bad: str, size: int, tmp_path: Path) -> None:
    good = ['{"stars": 1, "text": "a"}', '{"stars": 2, "text": "b"}']
    for text in ("[%s]", '{"reviews": [%s]}'):
        (tmp_path / "a").write_text(text % ", ".join([*good, bad, *good]))
        _, rows, rejected = read(tmp_path / "a", size)
        assert [r["text"] for r in rows if r["text"] != "c"] == ["a", "b", "a", "b"]
        assert rejected


def test_first_element_that_is_broken_is_not_a_model_for_others(tmp_path: Path) -> None:
    nested = '{"stars": 9, "text": "NEST"}'
    elements = [f'{{"stars": 4, "text: "d", "rs": [{nested}, {nested}]}}']
    elements += [json.dumps({"id": n, "stars": 1, "text": f"t{n}"}) for n in range(9)]
    (tmp_path / "a").write_text("[" + ", ".join(elements) + "]")
    _, rows, rejected = read(tmp_path / "a")
    assert [r["text"] for r in rows] == [f"t{n}" for n in range(9)]
    assert rejected


def test_short_files(tmp_path: Path) -> None:
    element = '{"stars": 1, "text": "a"}'
    for text, count in ((f"[\n{element}\n]\n", 1), (f"{element},\n{element}\n", 2), (f"[{element}]", 1)):
        (tmp_path / "a").write_text(text)
        _, rows, rejected = read(tmp_path / "a")
        assert ([r["text"] for r in rows], rejected) == (["a"] * count, [])


def test_lists_that_are_not_read_are_named(tmp_path: Path) -> None:
    document = {"facets": [{"name": "x", "n": 1}], "reviews": RECORDS, "users": [{"id": 1, "mail": "x"}]}
    (tmp_path / "a").write_text(json.dumps(document))
    found = detect_file(locate(tmp_path / "a"), InputConfig(), Needs())
    assert found is not None
    assert found.notes == ("records are the elements of the list reviews; not read: facets, users",)
    assert found.warnings == ()
    (tmp_path / "a").write_text(json.dumps({**document, "more": RECORDS}))
    found = detect_file(locate(tmp_path / "a"), InputConfig(), Needs())
    assert found is not None
    assert found.notes == ("not read: facets, users",)
    assert "2 lists are read as reviews: reviews, more;" in found.warnings[0]


def test_lists_of_texts_that_are_no_reviews_are_not_read(tmp_path: Path) -> None:
    answers = [{"text": "Thank you", "author": "shop"}]
    (tmp_path / "a").write_text(json.dumps({"answers": answers * 30, "reviews": RECORDS}))
    found = detect_file(locate(tmp_path / "a"), InputConfig(), Needs(stars=False))
    assert found is not None
    assert found.notes == ("records are the elements of the list reviews; not read: answers",)
    _, rows, rejected = read(tmp_path / "a")
    assert ([r["text"] for r in rows], rejected) == ([r["text"] for r in RECORDS], [])


@pytest.mark.parametrize("size", SIZES)
def test_empty_arrays_before_and_between_others_are_skipped(size: int, tmp_path: Path) -> None:
    text = f"[]\n[ ]{json.dumps(RECORDS[:2])}[]\n{json.dumps(RECORDS[2:])}[]"
    (tmp_path / "a").write_text(text)
    _, rows, rejected = read(tmp_path / "a", size)
    assert ([r["text"] for r in rows], rejected) == ([r["text"] for r in RECORDS], [])


def test_lists_at_ever_deeper_levels_are_no_document(tmp_path: Path) -> None:
    # If each list were compared with all objects around it, this would take minutes.
    (tmp_path / "a").write_bytes(b'{"a":{"b":[{}],' * 8000)
    with pytest.raises(InputError, match="no object in its first 16 MiB is valid JSON"):
        detect_file(locate(tmp_path / "a"), InputConfig(), Needs())
