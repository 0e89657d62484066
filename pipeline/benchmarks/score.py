"""gz dumps to labels and probabilities: rayview, other software, and the forward passes only.

Each function scores the dump once and returns the seconds from the first rows at the model to the end.
Startup of processes, imports and loading of the model are excluded for all. All use the same device: `cpu`
with all cores, or one `gpu`.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.benchmarks.common import MAX_LENGTH, START_FILE, files_of, join, record_start, start_time
from pipeline.config import Config
from pipeline.model.card import fingerprint_model
from pipeline.model.forward import read_forward
from pipeline.model.options import BATCH_TOKENS, ForwardOptions
from pipeline.model.ragged import Ragged, token_budget_batches
from pipeline.progress import Reporter
from pipeline.runtime.pools import Cluster, Pool
from pipeline.score.predictor import Predictor
from pipeline.settings import load_config
from pipeline.storage.location import locate

_TORCH_DEVICES = {"cpu": "cpu", "gpu": "cuda:0"}
_BATCH_ROWS = 64
_SORTED_BATCH_ROWS = 32


def _settings(device: str) -> Config:
    # Fixed, because a long job would tune it, and contenders without a job must use the same batches.
    sets = [f"score.batch_tokens={BATCH_TOKENS[device]}", f"tokenize.max_length={MAX_LENGTH}"]
    return load_config(None, sets)


def ours(dump: str, model: str, output: str, device: str, num_actors: int | None = None) -> float:
    """`jobs.score`; by default one actor per core or GPU."""
    from pipeline.runtime.connect import connect
    from pipeline.score import stage

    shutil.rmtree(output, ignore_errors=True)
    config = _settings(device).replace(score__num_actors=num_actors)
    with tempfile.TemporaryDirectory() as work:
        os.environ[START_FILE] = f"{work}/start"
        cluster = _with_device(connect(config.cluster), device)
        job = stage.plan([dump], model, output, config)
        stage.score(job, cluster, Reporter(), predictor=TimedPredictor)
        return time.time() - start_time()


class TimedPredictor(Predictor):
    """Predictor that records when the first rows reach it."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """See Predictor."""
        record_start()
        return super().__call__(table)


def _with_device(cluster: Cluster, device: str) -> Cluster:
    from pipeline.runtime.pools import without_gpus

    return without_gpus(cluster) if device == "cpu" else cluster


def bare(dump: str, model: str, output: str, device: str) -> float:
    """Forward passes of transformers only, on padded batches of `jobs.score`, in the same precision."""
    import torch
    from transformers import AutoModelForSequenceClassification

    del output
    _use_all_cores()
    chunks, precision, _ = _our_chunks(dump, model, device)
    batches = [
        [torch.from_numpy(part) for part in ids.pad(rows, 0, MAX_LENGTH)]
        for ids in chunks
        for rows in token_budget_batches(ids.lengths, BATCH_TOKENS[device], MAX_LENGTH)
    ]
    on = _TORCH_DEVICES[device]
    classifier = AutoModelForSequenceClassification.from_pretrained(model, dtype=getattr(torch, precision))
    classifier = classifier.eval().to(on)
    start = time.monotonic()
    with torch.inference_mode():
        probs = [
            classifier(input_ids=ids.to(on), attention_mask=mask.to(on)).logits.float().softmax(1)
            for ids, mask in batches
        ]
    torch.cat(probs).cpu()
    return time.monotonic() - start


def forward_only(dump: str, model: str, output: str, device: str) -> float:
    """Forward passes of `jobs.score` only, in one process per actor: an upper bound for the job."""
    del output
    chunks, precision, pool = _our_chunks(dump, model, device)
    options = ForwardOptions(model, fingerprint_model(locate(model)), MAX_LENGTH, precision)
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(pool.size)
    shares = [(chunks[i :: pool.size], options, BATCH_TOKENS[device]) for i in range(pool.size)]
    with context.Pool(pool.size, _set_barrier, (ready,)) as processes:
        spans = processes.map(_score_chunks, shares, chunksize=1)
    return max(end for _, end in spans) - min(start for start, _ in spans)


_ready: Barrier


def _set_barrier(ready: Barrier) -> None:
    global _ready
    _ready = ready


def _score_chunks(share: tuple[list[Ragged], ForwardOptions, int]) -> tuple[float, float]:
    chunks, options, batch_tokens = share
    forward = read_forward(options)
    _ready.wait()
    start = time.time()
    # As in `jobs.score` on a GPU, the next chunk is submitted before the previous one is copied back.
    scored = [forward(ids, batch_tokens) for ids in chunks]
    for chunk in scored:
        assert np.isfinite(chunk.probabilities).all()
    return start, time.time()


def _our_chunks(dump: str, model: str, device: str) -> tuple[list[Ragged], str, Pool]:
    """Input of the model in a job on one node: chunks without repeated texts, precision, and actors."""
    from pipeline.ingest.stream import ReadPlan, read_source
    from pipeline.runtime.connect import survey
    from pipeline.runtime.pools import plan_score
    from pipeline.runtime.precision import choose_precision
    from pipeline.score import stage
    from pipeline.score.job import choose_chunks

    config = _settings(device)
    cluster = _with_device(survey(config.cluster), device)
    job = stage.plan([dump], model, f"{dump}-unused", config)
    pools = plan_score(cluster, len(job.sources))
    work = job.chunk_work()
    read = ReadPlan(choose_chunks(job, pools))
    chunks = [
        Ragged.of(work.encode(chunk).rows["input_ids"]).distinct()[0]
        for source in job.sources
        for chunk in read_source(source, read)
    ]
    return chunks, choose_precision(cluster, config.score.precision), pools.scorers


def ray_stock(dump: str, model: str, output: str, device: str) -> float:
    """Ray Data's documented batch inference: read_json, a class in map_batches, write_parquet.

    Source: https://docs.ray.io/en/latest/data/batch_inference.html
    """
    import ray

    on = _TORCH_DEVICES[device]

    class Classifier:
        def __init__(self) -> None:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            _use_all_cores()
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.model = AutoModelForSequenceClassification.from_pretrained(model).eval().to(on)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            import torch

            record_start()
            # If no row of a block has a field, the block lacks the column.
            none = [None] * len(batch["overall"])
            fields = (batch.get(name, none) for name in ("summary", "reviewText"))
            texts = [join(summary, text) for summary, text in zip(*fields, strict=True)]
            inputs = self.tokenizer(
                texts, padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
            )
            with torch.inference_mode():
                probabilities = self.model(**inputs.to(on)).logits.softmax(1).cpu().numpy()
            kept = {"asin": batch["asin"]} if "asin" in batch else {}
            return kept | {"label": probabilities.argmax(1), "prob": list(probabilities)}

    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ[START_FILE] = f"{work}/start"
        ray.init(address="local", log_to_driver=False)
        rows = ray.data.read_json(files_of(dump), arrow_open_stream_args={"compression": "gzip"})
        # One actor that uses all cores: one actor per core would leave no CPU for the readers and deadlock.
        pool = ray.data.ActorPoolStrategy(size=1)
        gpus = {"num_gpus": 1} if device == "gpu" else {}
        rows = rows.map_batches(Classifier, batch_size=_BATCH_ROWS, compute=pool, **gpus)
        rows.write_parquet(output)
        return time.time() - start_time()


def pipeline_64(dump: str, model: str, output: str, device: str) -> float:
    """transformers' pipeline on all texts, in batches of 64, float32.

    Source: https://huggingface.co/docs/transformers/main_classes/pipelines
    """
    from transformers import pipeline

    del output
    _use_all_cores()
    classify = pipeline("text-classification", model=model, device=_TORCH_DEVICES[device], top_k=None)
    start = time.monotonic()
    scores = list(
        classify(_texts(dump), batch_size=_BATCH_ROWS, truncation=True, max_length=MAX_LENGTH, padding=True)
    )
    pa.table({"scores": [[s["score"] for s in row] for row in scores]})
    return time.monotonic() - start


def sorted_float32(dump: str, model: str, output: str, device: str) -> float:
    """A PyTorch loop as in sentence-transformers' encode: all texts sorted by length, batches of 32, float32.

    Source: https://github.com/UKPLab/sentence-transformers, SentenceTransformer.encode
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    del output
    _use_all_cores()
    tokenizer = AutoTokenizer.from_pretrained(model)
    on = _TORCH_DEVICES[device]
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval().to(on)
    texts = list(_texts(dump))
    start = time.monotonic()
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    probs = []
    with torch.inference_mode():
        for first in range(0, len(order), _SORTED_BATCH_ROWS):
            batch = [texts[i] for i in order[first : first + _SORTED_BATCH_ROWS]]
            inputs = tokenizer(
                batch, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
            )
            probs.append(classifier(**inputs.to(on)).logits.softmax(1))
    torch.cat(probs).cpu()[torch.tensor(order).argsort()].numpy()
    return time.monotonic() - start


def _texts(dump: str) -> Iterator[str]:
    for file in files_of(dump):
        for line in _lines(file):
            row = json.loads(line)
            yield join(row.get("summary"), row.get("reviewText"))


def count_lines(dump: str) -> int:
    """Number of lines of a directory of gz files."""
    return sum(len(_lines(file)) for file in files_of(dump))


def write_part_of(dump: str, target: str, parts: int) -> int:
    """Write the first 1/`parts` of each gz file of a directory to a new directory; returns its lines."""
    Path(target).mkdir()
    for file in files_of(dump):
        lines = _lines(file)
        first = b"".join(lines[: max(1, len(lines) // parts)])
        Path(target, Path(file).name).write_bytes(gzip.compress(first))
    return count_lines(target)


def _lines(file: str) -> list[bytes]:
    with gzip.open(file) as lines:
        return list(lines)


def _use_all_cores() -> None:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
