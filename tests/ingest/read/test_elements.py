"""Cutting of JSON arrays and objects: the elements that ijson finds, however the text is cut."""

from __future__ import annotations

import io
import json
from typing import Any

import ijson
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.ingest.read.cutting import cut_records
from pipeline.ingest.read.element_syntax import ElementSyntax
from pipeline.ingest.read.elements import Elements, element_content

ARRAY = ElementSyntax(is_array=True)
LIST = ElementSyntax('{"a"', 0, path=("x",))
NESTED_LIST = ElementSyntax(path=("y", "x"))
SIMILAR_LISTS = ElementSyntax(path=("x",), siblings="{", others=('{"b"',))
OBJECTS = ElementSyntax('\n{"a"', 1)

names = st.sampled_from(["a", "b", '"', "\\", "{[", "é"])
texts = st.text(st.sampled_from('ab"\\{}[],:\n é☃'), max_size=8)
objects = st.dictionaries(
    names,
    st.recursive(
        texts | st.integers(-9, 9) | st.none() | st.booleans() | st.just(1.5e10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
layouts = st.sampled_from(
    [{}, {"indent": 0}, {"indent": 2}, {"separators": (",", ":")}, {"indent": "\t", "ensure_ascii": False}]
)


def contents(text: bytes, rule: Elements) -> list[bytes]:
    starts, ends = rule.spans(text)
    return [element_content(text, a, b) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def pieces_of(text: bytes, cuts: list[int]) -> list[bytes]:
    pieces, start = [], 0
    while start < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[start : start + size])
        start += size
    return pieces


@given(
    values=st.lists(objects, min_size=1, max_size=5),
    layout=layouts,
    opening=st.sampled_from(["", "{", '{"a"', "\n{"]),
)
def test_elements_are_those_of_ijson(values: list[Any], layout: dict[str, Any], opening: str) -> None:
    text = json.dumps(values, **layout).encode()
    expected = list(ijson.items(io.BytesIO(text), "item", use_float=True))
    assert expected == values
    rule = Elements(ElementSyntax(opening, opening.find("{"), is_array=True))
    assert [json.loads(c) for c in contents(text[text.find(b"{") :], rule)] == values


@given(
    values=st.lists(objects, min_size=1, max_size=5),
    layout=layouts,
    gap=st.sampled_from(["", " ", "\n", ",\n", "\r\n", "\n\x1e"]),
)
def test_objects_that_follow_each_other(values: list[Any], layout: dict[str, Any], gap: str) -> None:
    text = gap.join(json.dumps(v, **layout) for v in values).encode()
    if "," not in gap and "\x1e" not in gap:
        assert list(ijson.items(io.BytesIO(text), "", multiple_values=True, use_float=True)) == values
    assert [json.loads(c) for c in contents(text, Elements(ElementSyntax()))] == values


tokens = st.sampled_from(
    [
        '{"a"',
        '{"a": 1}',
        ": ",
        '"',
        "\\",
        "\\\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "1",
        "x",
        " ",
        '"b"',
        '"x": [',
        '"y": [{"a": 1}',
        '], "b": ',
        "]}}",
        '\n{"a"',
        "é",
        "null",
        "\x1e",
    ]
)
soup = st.lists(tokens, max_size=40).map(lambda parts: "".join(parts).encode())


@given(
    text=soup,
    syntax=st.sampled_from([ARRAY, LIST, NESTED_LIST, SIMILAR_LISTS, OBJECTS]),
    max_bytes=st.integers(4, 40),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    chunk_bytes=st.integers(1, 30),
)
@example(b'{"a": "x\n{"a": 1}\n{"a": 2}', OBJECTS, 20, [3], 5)
@example(b'"b {"a": 1}', OBJECTS, 20, [3], 3)
def test_records_do_not_depend_on_pieces(
    text: bytes, syntax: ElementSyntax, max_bytes: int, cuts: list[int], chunk_bytes: int
) -> None:
    # The reader counts the records of each chunk before it cuts the next one.
    reader = Elements(syntax, max_bytes)
    counted = [
        ((raw, skipped), bool(raw) if skipped else reader.count(raw))
        for raw, skipped in cut_records(pieces_of(text, cuts), chunk_bytes, reader, max_bytes)
    ]
    chunks = [chunk for chunk, _ in counted]
    assert sum(len(raw) + skipped for raw, skipped in chunks) == len(text)
    again = list(cut_records([text], chunk_bytes, Elements(syntax, max_bytes), max_bytes))
    assert chunks == again
    # The parser finds as many records in a chunk that has some.
    found = []
    for (raw, skipped), count in counted:
        if count and not skipped:
            records = contents(raw, Elements(syntax, max_bytes))
            assert len(records) == count
            found += records
    if any(skipped for _, skipped in chunks):
        return
    assert b"".join(raw for raw, _ in chunks) == text
    # Any cutting gives the same records.
    assert found == contents(text, Elements(syntax, max_bytes))
