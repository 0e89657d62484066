"""Tokenizers are told apart by their parts; those whose pieces depend on each other take the plain path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.ingest.tokenize.encode import Encoder
from tests.ingest.tokenize.tokenizer_kinds import HARD, HOPELESS, check, tokenizer_json


def altered(change: dict[str, Any]) -> str:
    parts = json.loads(tokenizer_json("uncased", "bert", "wordpiece", "template", "bert's"))
    return json.dumps(parts | change)


TEMPLATE = json.loads(tokenizer_json("uncased", "bert", "wordpiece", "template", "none"))["post_processor"]
PLAIN = {
    "a normalizer that counts from the start": {"normalizer": {"type": "Prepend", "prepend": "x"}},
    "one that looks at the ends": {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
    "one that replaces": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Replace", "pattern": {"String": "d s"}, "content": "d"}],
        }
    },
    "no pre-tokenizer": {"pre_tokenizer": None},
    "white space kept": {
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "always",
            "split": True,
        }
    },
    "bytes": {
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        }
    },
    "the text twice": {
        "post_processor": TEMPLATE | {"single": [{"Sequence": {"id": "A", "type_id": 0}}] * 2},
    },
}


@pytest.mark.parametrize("why", PLAIN)
def test_tokenizers_whose_pieces_depend_on_each_other_take_the_plain_path(why: str) -> None:
    tokenizer = altered(PLAIN[why])
    assert not Encoder(tokenizer, 24).by_words
    check(tokenizer, 24, "right", HARD)


@pytest.mark.parametrize("added", HOPELESS)
def test_added_tokens_that_no_piece_shows_take_the_plain_path(added: str) -> None:
    tokenizer = tokenizer_json("uncased", "bert", "wordpiece", "template", added)
    assert not Encoder(tokenizer, 24).by_words


def test_a_model_that_draws_lots_takes_the_plain_path() -> None:
    model = json.loads(tokenizer_json("uncased", "bert", "bpe", "template", "none"))["model"]
    assert Encoder(altered({"model": model}), 24).by_words
    assert not Encoder(altered({"model": model | {"dropout": 0.1}}), 24).by_words


def test_special_tokens_that_leave_no_room_are_left_to_the_library() -> None:
    tokenizer = tokenizer_json("uncased", "bert", "wordpiece", "template", "bert's")
    assert not Encoder(tokenizer, 2).by_words
    assert Encoder(tokenizer, 3).by_words
