"""Daft's documented batch inference: read_json, a class with a batch method, write_parquet.

Daft chooses the batch sizes: with `batch_size` set, tokenizing took four times as long (Daft 0.7.26). It runs
in a separate environment (`make daft`), because it does not support the pyarrow version that rayview pins.

Source: https://docs.daft.ai, custom code, "Stateful Class UDFs with @daft.cls".
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Protocol

from pipeline.benchmarks.common import MAX_LENGTH, START_FILE, files_of, join, record_start, start_time

if TYPE_CHECKING:
    import daft

_BATCH_ROWS = 64


class Column(Protocol):
    """A `daft.Series` of strings."""

    def to_pylist(self) -> list[str | None]:
        """The values of the column."""
        ...


def score(dump: str, model: str, output: str, device: str) -> float:
    """gz dumps to labels and probabilities in float32, batches padded to the longest row; see score.py."""
    import daft
    import torch
    from daft import DataType
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch_device = {"cpu": "cpu", "gpu": "cuda:0"}[device]

    @daft.cls(gpus=1 if device == "gpu" else 0, max_concurrency=1)
    class Classifier:
        def __init__(self) -> None:
            torch.set_num_threads(os.cpu_count() or 1)
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.model = AutoModelForSequenceClassification.from_pretrained(model).eval().to(torch_device)

        @daft.method.batch(return_dtype=DataType.list(DataType.float32()))  # type: ignore[untyped-decorator]
        def probabilities(self, summaries: Column, texts: Column) -> list[list[float]]:
            record_start()
            joined = [join(*pair) for pair in zip(summaries.to_pylist(), texts.to_pylist(), strict=True)]
            probs: list[list[float]] = []
            for first in range(0, len(joined), _BATCH_ROWS):
                batch = joined[first : first + _BATCH_ROWS]
                inputs = self.tokenizer(
                    batch, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
                )
                with torch.inference_mode():
                    probs += self.model(**inputs.to(torch_device)).logits.softmax(1).tolist()
            return probs

    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ[START_FILE] = f"{work}/start"
        rows = _read(dump)
        rows = rows.with_column("prob", Classifier().probabilities(rows["summary"], rows["reviewText"]))
        rows.select("asin", "prob").write_parquet(output)
        return time.time() - start_time()


def ingest(dump: str, output: str, model: str) -> float:
    """gz dumps to token IDs in Parquet, on all cores; see ingest.py."""
    import daft
    from daft import DataType
    from transformers import AutoTokenizer

    @daft.cls(max_concurrency=os.cpu_count() or 1)
    class Tokenize:
        def __init__(self) -> None:
            self.tokenizer = AutoTokenizer.from_pretrained(model)

        @daft.method.batch(return_dtype=DataType.list(DataType.int32()))  # type: ignore[untyped-decorator]
        def ids(self, summaries: Column, texts: Column) -> list[list[int]]:
            joined = [join(*pair) for pair in zip(summaries.to_pylist(), texts.to_pylist(), strict=True)]
            encoded = self.tokenizer(joined, truncation=True, max_length=MAX_LENGTH)
            input_ids: list[list[int]] = encoded["input_ids"]
            return input_ids

    shutil.rmtree(output, ignore_errors=True)
    start = time.monotonic()
    rows = _read(dump)
    rows = rows.with_column("input_ids", Tokenize().ids(rows["summary"], rows["reviewText"]))
    rows.select("input_ids", "overall").write_parquet(output)
    return time.monotonic() - start


def _read(dump: str) -> daft.DataFrame:
    """A dump; fields that no review has are added as null columns."""
    import daft

    rows = daft.read_json(files_of(dump))
    missing = {"asin", "summary"} - set(rows.column_names)
    return rows.with_columns({name: daft.lit(None).cast(daft.DataType.string()) for name in missing})
