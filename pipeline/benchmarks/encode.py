"""Encoding on one core: rayview and the fastest call of the tokenizers library, on the same texts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import DEFAULT_MODEL, Config
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.ingest.tokenize.encode import Encoder
from pipeline.model.hub import resolve_model
from pipeline.model.tokenizer import tokenizer_json
from pipeline.storage.location import Location, locate
from pipeline.synth import write_dump

_CHUNK_BYTES = 8 << 20

Chunks = list[pa.Array]
Encode = Callable[[pa.Array], object]


def synthetic_texts(work: Path, rows: int) -> Chunks:
    """Texts of a synthetic dump, which is written to an empty directory."""
    write_dump(locate(work), rows=rows, shards=1, seed=0)
    (file,) = work.iterdir()
    return read_texts(locate(file))


def read_texts(file: Location) -> Chunks:
    """Clean texts of a dump, one array per chunk.

    Raises:
        InputError: the file cannot be read, or is not a dump.
    """
    config = Config()
    (source,) = detect_sources([file], config.input, need_stars=False)
    assert isinstance(source.fmt, Format)
    recipe = replace(Recipe.from_config(config, scheme=None), verified_only=False)
    chunks = read_source(source, ReadPlan(_CHUNK_BYTES))
    return [keep_lines(c, source.fmt, recipe).rows["text"].combine_chunks() for c in chunks]


def contenders(max_length: int) -> dict[str, Callable[[], Encode]]:
    """Contender → constructor of its encoder; a new encoder has an empty cache.

    Args:
        max_length: maximum number of tokens of a text, special tokens included.
    """
    tokenizer = tokenizer_json(resolve_model(DEFAULT_MODEL))
    return {
        "rayview": lambda: Encoder(tokenizer, max_length),
        "encode_batch_fast": lambda: _library(tokenizer, max_length),
    }


def race(chunks: Chunks, rounds: int) -> dict[str, list[float]]:
    """Rows per second by contender, one value per round.

    The contenders take turns on the same texts. Each round constructs new encoders, which is not timed.
    """
    makers = contenders(Config().tokenize.max_length)
    rates: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, make in makers.items():
            rates[name].append(_rows_per_s(make(), chunks))
    return rates


def _library(tokenizer_json: str, max_length: int) -> Encode:
    """Only the call of the library; the race does not read its IDs."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return lambda texts: tokenizer.encode_batch_fast(texts.to_pylist())


def _rows_per_s(encode: Encode, chunks: Chunks) -> float:
    start = time.perf_counter()
    for texts in chunks:
        encode(texts)
    return sum(map(len, chunks)) / (time.perf_counter() - start)
