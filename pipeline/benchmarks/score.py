"""gz dumps to labels and probabilities: ours, what others use, and the bare forward passes.

Each function scores the dump once and returns the seconds from the first row at the model to the end: the
start of processes, imports and the load of the model are left out for all. All compute on the same device:
`cpu`, with all its cores, or `gpu`, of which there is one.
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

from pipeline.benchmarks.common import BEGAN, MAX_LENGTH, began, files_of, join, mark_begin
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

_PLACES = {"cpu": "cpu", "gpu": "cuda:0"}
_BATCH_ROWS = 64
_SORTED_BATCH_ROWS = 32


def _settings(device: str) -> Config:
    # Also where the job is long enough to try others, so that the bare passes have the same batches.
    return load_config(None, [f"score.batch_tokens={BATCH_TOKENS[device]}"])


def ours(dump: str, model: str, output: str, device: str, num_actors: int | None = None) -> float:
    """`jobs.score`, by default with one actor per core or GPU."""
    from pipeline.runtime.connect import connect
    from pipeline.score import stage

    shutil.rmtree(output, ignore_errors=True)
    config = _settings(device).replace(score__num_actors=num_actors)
    with tempfile.TemporaryDirectory() as work:
        os.environ[BEGAN] = f"{work}/began"
        cluster = _only(device, connect(config.cluster))
        job = stage.plan([dump], model, output, config)
        stage.score(job, cluster, Reporter(), predictor=MarkedPredictor)
        return time.time() - began()


class MarkedPredictor(Predictor):
    """One that leaves a mark when the first rows reach it."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """See Predictor."""
        mark_begin()
        return super().__call__(table)


def _only(device: str, cluster: Cluster) -> Cluster:
    from pipeline.runtime.pools import without_gpus

    return without_gpus(cluster) if device == "cpu" else cluster


def bare(dump: str, model: str, output: str, device: str) -> float:
    """The forward passes alone as transformers computes them: the batches of `jobs.score` if it padded them,
    made beforehand, in its precision."""
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
    place = _PLACES[device]
    classifier = AutoModelForSequenceClassification.from_pretrained(model, dtype=getattr(torch, precision))
    classifier = classifier.eval().to(place)
    start = time.monotonic()
    with torch.inference_mode():
        found = [
            classifier(input_ids=ids.to(place), attention_mask=mask.to(place)).logits.float().softmax(1)
            for ids, mask in batches
        ]
    torch.cat(found).cpu()
    return time.monotonic() - start


def forward_alone(dump: str, model: str, output: str, device: str) -> float:
    """The forward passes of `jobs.score` and nothing else: no job can be faster. One process a scorer."""
    del output
    chunks, precision, pool = _our_chunks(dump, model, device)
    options = ForwardOptions(model, fingerprint_model(locate(model)), MAX_LENGTH, precision)
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(pool.size)
    shares = [(chunks[i :: pool.size], options, BATCH_TOKENS[device]) for i in range(pool.size)]
    with context.Pool(pool.size, _keep, (ready,)) as processes:
        spans = processes.map(_score_chunks, shares, chunksize=1)
    return max(end for _, end in spans) - min(start for start, _ in spans)


_ready: Barrier


def _keep(ready: Barrier) -> None:
    global _ready
    _ready = ready


def _score_chunks(share: tuple[list[Ragged], ForwardOptions, int]) -> tuple[float, float]:
    chunks, options, batch_tokens = share
    forward = read_forward(options)
    _ready.wait()
    start = time.time()
    # As with `jobs.score` on a GPU, the next chunk is handed over before the last one has come back.
    scored = [forward(ids, batch_tokens) for ids in chunks]
    for chunk in scored:
        assert np.isfinite(chunk.probabilities).all()
    return start, time.time()


def _our_chunks(dump: str, model: str, device: str) -> tuple[list[Ragged], str, Pool]:
    """What goes through the model in a job on one node: its chunks without repeated texts; its precision; and
    its scorers."""
    from pipeline.ingest.stream import ReadPlan, read_source
    from pipeline.runtime.connect import survey
    from pipeline.runtime.pools import plan_score
    from pipeline.runtime.precision import choose_precision
    from pipeline.score import stage

    config = _settings(device)
    cluster = _only(device, survey(config.cluster))
    job = stage.plan([dump], model, f"{dump}-unused", config)
    pools = plan_score(cluster, len(job.sources))
    work = stage.chunk_work(job)
    read = ReadPlan(stage.choose_chunks(job, pools))
    chunks = [
        Ragged.of(work.encode(chunk).rows["input_ids"]).distinct()[0]
        for source in job.sources
        for chunk in read_source(source, read)
    ]
    return chunks, choose_precision(cluster, config.score.precision), pools.scorers


def ray_stock(dump: str, model: str, output: str, device: str) -> float:
    """Ray Data as its documentation shows batch inference: read_json, a class in map_batches, write_parquet.

    Source: https://docs.ray.io/en/latest/data/batch_inference.html
    """
    import ray

    place = _PLACES[device]

    class Classifier:
        def __init__(self) -> None:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer

            _use_all_cores()
            self.tokenizer = AutoTokenizer.from_pretrained(model)
            self.model = AutoModelForSequenceClassification.from_pretrained(model).eval().to(place)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            import torch

            mark_begin()
            # Where no row of a block has a field, the block has none.
            none = [None] * len(batch["overall"])
            fields = (batch.get(name, none) for name in ("summary", "reviewText"))
            texts = [join(summary, text) for summary, text in zip(*fields, strict=True)]
            inputs = self.tokenizer(
                texts, padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
            )
            with torch.inference_mode():
                probabilities = self.model(**inputs.to(place)).logits.softmax(1).cpu().numpy()
            kept = {"asin": batch["asin"]} if "asin" in batch else {}
            return kept | {"label": probabilities.argmax(1), "prob": list(probabilities)}

    shutil.rmtree(output, ignore_errors=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ[BEGAN] = f"{work}/began"
        ray.init(address="local", log_to_driver=False)
        rows = ray.data.read_json(files_of(dump), arrow_open_stream_args={"compression": "gzip"})
        # One actor with all cores; as many as there are cores would wait for ever for a reader.
        pool = ray.data.ActorPoolStrategy(size=1)
        gpus = {"num_gpus": 1} if device == "gpu" else {}
        rows = rows.map_batches(Classifier, batch_size=_BATCH_ROWS, compute=pool, **gpus)
        rows.write_parquet(output)
        return time.time() - began()


def pipeline_64(dump: str, model: str, output: str, device: str) -> float:
    """transformers' pipeline over all texts, in batches of 64, float32.

    Source: https://huggingface.co/docs/transformers/main_classes/pipelines
    """
    from transformers import pipeline

    del output
    _use_all_cores()
    classify = pipeline("text-classification", model=model, device=_PLACES[device], top_k=None)
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
    place = _PLACES[device]
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval().to(place)
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
            found.append(classifier(**inputs.to(place)).logits.softmax(1))
    torch.cat(found).cpu()[torch.tensor(order).argsort()].numpy()
    return time.monotonic() - start


def _texts(dump: str) -> Iterator[str]:
    for file in files_of(dump):
        for line in _lines(file):
            row = json.loads(line)
            yield join(row.get("summary"), row.get("reviewText"))


def count_lines(dump: str) -> int:
    """Lines of a folder of gz files."""
    return sum(len(_lines(file)) for file in files_of(dump))


def write_part_of(dump: str, target: str, parts: int) -> int:
    """Write the first of so many parts of each file of a folder to another folder; returns its lines."""
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
