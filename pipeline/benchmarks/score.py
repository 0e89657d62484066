"""gz dumps to labels and probabilities: ours, what others use, and the bare forward passes.

Each function scores the dump once and returns the seconds from the first row at the model to the end: the
start of processes, imports and the load of the model are left out for all. All compute on the CPU, with all
its cores.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.benchmarks.ingest import join
from pipeline.config import load_config
from pipeline.progress import Reporter
from pipeline.score.calibrate import BATCH_TOKENS
from pipeline.score.predictor import Predictor

MAX_LENGTH = 128
_BATCH_TOKENS = f"score.batch_tokens={BATCH_TOKENS['cpu']}"
"""Also where the job is long enough to try others, so that the bare passes have the same batches."""

_BATCH_ROWS = 64
_SORTED_BATCH_ROWS = 32
BEGAN = "RAYVIEW_BENCHBEGAN"
"""Environment variable: the file whose time of writing is that of the first row at a model."""


def ours(dump: str, model: str, output: str) -> float:
    """`jobs.score`."""
    from pipeline import resources
    from pipeline.score import stage

    shutil.rmtree(output, ignore_errors=True)
    config = load_config(None, [_BATCH_TOKENS])
    with tempfile.TemporaryDirectory() as work:
        os.environ[BEGAN] = f"{work}/began"
        cluster = resources.without_gpus(resources.connect(config.cluster))
        job = stage.plan([dump], model, output, config)
        stage.score(job, cluster, Reporter(), predictor=MarkedPredictor)
        return time.time() - Path(os.environ[BEGAN]).stat().st_mtime


class MarkedPredictor(Predictor):
    """One that leaves a mark when the first rows reach it."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """See Predictor."""
        mark_begin()
        return super().__call__(table)


def mark_begin() -> None:
    """Leave a mark, with the time of the first call in any process."""
    mark = Path(os.environ[BEGAN])
    if not mark.exists():
        mark.touch()


def bare(dump: str, model: str, output: str) -> float:
    """The forward passes alone, as plain as they can be: the batches that ours makes, padded beforehand, in
    its precision. No job that computes them so can be faster."""
    import torch
    from transformers import AutoModelForSequenceClassification

    del output
    _use_all_cores()
    batches, precision = _our_batches(dump, model)
    dtype = getattr(torch, precision)
    classifier = AutoModelForSequenceClassification.from_pretrained(model, dtype=dtype).eval()
    start = time.monotonic()
    with torch.inference_mode():
        for ids, mask in batches:
            classifier(input_ids=ids, attention_mask=mask).logits.float().softmax(1)
    return time.monotonic() - start


def _our_batches(dump: str, model: str) -> tuple[list[tuple[Any, Any]], str]:
    """The batches of a job on one node, as tensors, and its precision."""
    import torch

    from pipeline import resources
    from pipeline.ingest.dataset import ReadPlan, read_source
    from pipeline.ragged import Ragged, token_budget_batches
    from pipeline.score import stage

    config = load_config(None, [_BATCH_TOKENS])
    cluster = resources.without_gpus(resources.survey(config.cluster))
    job = stage.plan([dump], model, f"{dump}-unused", config)
    pools = resources.plan_score(cluster, len(job.sources))
    work, batches = stage.chunk_work(job), []
    read = ReadPlan(stage.choose_chunks(job, pools))
    for source in job.sources:
        for chunk in read_source(source, read):
            ids, _ = Ragged.of(work.encode(chunk).rows["input_ids"]).distinct()
            for rows in token_budget_batches(ids.lengths, BATCH_TOKENS["cpu"], MAX_LENGTH):
                found, mask = ids.pad(rows, 0, MAX_LENGTH)
                batches.append((torch.from_numpy(found), torch.from_numpy(mask)))
    return batches, resources.choose_precision(cluster, config.score.precision)


def ray_stock(dump: str, model: str, output: str) -> float:
    """Ray Data as its documentation shows batch inference: read_json, a class in map_batches, write_parquet.

    Source: https://docs.ray.io/en/latest/data/batch_inference.html
    """
    import ray

    class Classifier:
        def __init__(self) -> None:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            _use_all_cores()
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.model = AutoModelForSequenceClassification.from_pretrained(model).eval()

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            import torch

            mark_begin()
            texts = [join(s, t) for s, t in zip(batch["summary"], batch["reviewText"], strict=True)]
            inputs = self.tokenizer(
                texts, padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
            )
            with torch.inference_mode():
                probabilities = self.model(**inputs).logits.softmax(1).numpy()
            return {"asin": batch["asin"], "label": probabilities.argmax(1), "prob": list(probabilities)}

    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ[BEGAN] = f"{work}/began"
        ray.init(address="local", log_to_driver=False)
        rows = ray.data.read_json(_files(dump), arrow_open_stream_args={"compression": "gzip"})
        # One actor with all cores; as many as there are cores would wait for ever for a reader.
        pool = ray.data.ActorPoolStrategy(size=1)
        rows = rows.map_batches(Classifier, batch_size=_BATCH_ROWS, compute=pool)
        rows.write_parquet(output)
        return time.time() - Path(os.environ[BEGAN]).stat().st_mtime


def pipeline_64(dump: str, model: str, output: str) -> float:
    """transformers' pipeline over a dataset, in batches of 64, float32.

    Source: https://huggingface.co/docs/transformers/main_classes/pipelines
    """
    from datasets import load_dataset
    from transformers import pipeline

    _use_all_cores()
    shutil.rmtree(output, ignore_errors=True)
    rows = load_dataset("json", data_files=_files(dump), split="train", cache_dir=f"{output}/cache")
    classify = pipeline("text-classification", model=model, device="cpu", top_k=None)
    texts = (join(row["summary"], row["reviewText"]) for row in rows)
    start = time.monotonic()
    scores = list(
        classify(texts, batch_size=_BATCH_ROWS, truncation=True, max_length=MAX_LENGTH, padding=True)
    )
    pa.table({"scores": [[s["score"] for s in row] for row in scores]})
    return time.monotonic() - start


def sorted_float32(dump: str, model: str, output: str) -> float:
    """A PyTorch loop as in sentence-transformers' encode: all texts sorted by length, batches of 32, float32.

    Source: https://github.com/UKPLab/sentence-transformers, SentenceTransformer.encode
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    del output
    _use_all_cores()
    tokenizer = AutoTokenizer.from_pretrained(model)
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    texts = list(_texts(dump))
    start = time.monotonic()
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    found = []
    with torch.inference_mode():
        for first in range(0, len(order), _SORTED_BATCH_ROWS):
            batch = [texts[i] for i in order[first : first + _SORTED_BATCH_ROWS]]
            inputs = tokenizer(
                batch, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
            )
            found.append(classifier(**inputs).logits.softmax(1))
    torch.cat(found)[torch.tensor(order).argsort()].numpy()
    return time.monotonic() - start


def _texts(dump: str) -> Iterator[str]:
    for file in _files(dump):
        for line in _lines(file):
            row = json.loads(line)
            yield join(row.get("summary"), row.get("reviewText"))


def count_lines(dump: str) -> int:
    """Lines of a folder of gz files."""
    return sum(len(_lines(file)) for file in _files(dump))


def write_part_of(dump: str, target: str, parts: int) -> int:
    """Write the first of so many parts of each file of a folder to another folder; returns its lines."""
    Path(target).mkdir()
    for file in _files(dump):
        lines = _lines(file)
        first = b"".join(lines[: max(1, len(lines) // parts)])
        Path(target, Path(file).name).write_bytes(gzip.compress(first))
    return count_lines(target)


def _lines(file: str) -> list[bytes]:
    with gzip.open(file) as lines:
        return list(lines)


def _files(dump: str) -> list[str]:
    return sorted(str(f) for f in Path(dump).iterdir())


def _use_all_cores() -> None:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
