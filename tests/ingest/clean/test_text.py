"""Text cleaning, and the hash that identifies equal texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.clean.text import clean, key_hash, normal_form, text_hash
from tests.texts import UNICODE

WHITE = st.text(st.sampled_from(" \t\n\r\u00a0\u2003\x1d"), max_size=3)
WORD = st.text(st.sampled_from("abcXYZ019'!äÉß好\U0001f60a\x00"), min_size=1, max_size=5)


def hashes(*texts: str) -> list[tuple[int, int]]:
    return [(high, low) for high, low in text_hash(pa.array(texts, pa.string())).tolist()]


@given(st.lists(st.one_of(st.none(), st.text(UNICODE, max_size=10)), max_size=8))
def test_clean_strips_ends_and_keeps_null(texts: list[str | None]) -> None:
    cleaned = clean(pa.array(texts, pa.string())).to_pylist()
    assert cleaned == [None if t is None else t.strip() for t in texts]


@given(words=st.lists(WORD, min_size=1, max_size=5), gaps=st.lists(WHITE, min_size=6, max_size=6))
def test_hash_ignores_case_and_white_space(words: list[str], gaps: list[str]) -> None:
    spaced = gaps[0] + "".join(w + (g or " ") for w, g in zip(words, gaps[1:], strict=False)) + gaps[-1]
    one, same, lower = hashes(" ".join(words), spaced, spaced.lower())
    assert one == same == lower


@given(
    st.lists(
        st.text(st.sampled_from("aB \n\x1d\u00a0\u2003Öß好\U0001f60a\x9d"), max_size=8),
        min_size=1,
        max_size=8,
    )
)
def test_hash_does_not_depend_on_other_rows(texts: list[str]) -> None:
    # Arrow's utf8_split_whitespace depends on other rows for texts with trailing white space.
    assert hashes(*texts) == [h for t in texts for h in hashes(t)]
    assert hashes(*texts[::-1]) == hashes(*texts)[::-1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a b", "ab"),
        ("a", "b"),
        ("good shirt", "shirt good"),
        ("good", "good!"),
        ("naïve", "naive"),
        ("", "a"),
        # Lower case is not case folding.
        ("STRASSE", "straße"),
        ("ΟΔΟΣ", "οδος"),
    ],
)
def test_different_words_have_different_hashes(one: str, other: str) -> None:
    first, second = hashes(one, other)
    assert first != second


@pytest.mark.parametrize(
    ("one", "other"),
    [("ﬁne", "fine"), ("１００％", "100%"), ("café", "cafe\u0301"), ("a\u00a0b", "A b"), ("Å", "\u212b")],
)
def test_hash_ignores_unicode_spelling(one: str, other: str) -> None:
    first, second = hashes(one, other)
    assert first == second


@given(st.lists(st.text(st.sampled_from("aA zé \u0301\u00a0ﬁ\t\n\x0b\x1c\x85\u2003\x00") | UNICODE)))
def test_hashes_are_equal_if_and_only_if_normal_forms_are(texts: list[str]) -> None:
    spelled = [f" {t.upper()}  " for t in texts] + [t.replace(" ", "\t ") for t in texts]
    column = pa.array(texts + spelled, pa.string())
    forms = normal_form(column).to_pylist()
    hash_of: dict[str, tuple[int, int]] = {}
    for form, hashed in zip(forms, map(tuple, text_hash(column).tolist()), strict=True):
        assert hash_of.setdefault(form, hashed) == hashed
    assert len(set(hash_of.values())) == len(hash_of)
    digests = [xxhash.xxh3_128_digest(form.encode()) for form in hash_of]
    assert [int.from_bytes(d[:8], "big", signed=True) for d in digests] == [h for h, _ in hash_of.values()]


def test_hash_of_a_slice_equals_that_of_its_texts() -> None:
    column = pa.array(["x  é", "Good \t shirt", "a\n\nb", "z"])
    assert text_hash(column.slice(1, 2)).tolist() == text_hash(column)[1:3].tolist()


def test_key_hash_replaces_nulls() -> None:
    keys = pa.array(["A1", None, "A1", ""], pa.string())
    hashed = key_hash(keys, np.array([1, 2, 3, 4]))
    assert hashed[0] == hashed[2] != hashed[3]
    assert hashed[1] == 2


def test_hashes_never_change() -> None:
    # A version with different hashes would move reviews between splits.
    assert hashes("Good  shirt", "") == [
        (8220299666873291135, 2772313605906476695),
        (-7374073936536430376, 6918025063187695999),
    ]


def test_hundred_thousand_texts_do_not_collide() -> None:
    assert len(set(hashes(*(f"review number {i}" for i in range(100_000))))) == 100_000


def test_no_texts() -> None:
    assert text_hash(pa.array([], pa.string())).tolist() == []


@pytest.mark.parametrize("chunked", [False, True])
def test_unescape_html(chunked: bool) -> None:
    texts = [
        "a &amp; b",
        "x<br />y<BR/>z<br>w",
        "&#34;q&#x27;",
        "&lt;br&gt;",
        "AT&T; 5 < 6 & 7 > 2",
        None,
        " &nbsp;a ",
    ]
    texts += ["&notanentity;", "&#xD800;", "&amp;amp;", "plain"]
    array = pa.array(texts)
    column = pa.chunked_array([array[:3], array[3:]]) if chunked else array
    assert clean(column, unescape_html=True).to_pylist() == [
        "a & b",
        "x y z w",
        "\"q'",
        "<br>",
        "AT&T; 5 < 6 & 7 > 2",
        None,
        "a",
        "¬anentity;",
        "\ufffd",
        "&amp;",
        "plain",
    ]
    assert clean(column).to_pylist() == [t and t.strip() for t in texts]
    assert clean(array[:0], unescape_html=True).to_pylist() == []


def test_text_with_an_entity_of_too_many_digits_is_unchanged() -> None:
    too_long = "a &#" + "1" * 5000 + "; b &amp; c"
    texts = pa.array([too_long, "d &amp; e", "&#x" + "1" * 5000 + ";"])
    assert clean(texts, unescape_html=True).to_pylist() == [too_long, "d & e", "\ufffd"]
