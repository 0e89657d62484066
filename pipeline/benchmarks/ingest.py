"""gz dumps to token IDs in Parquet: rayview, Ray Data's documented pattern, and Hugging Face datasets.

Each function does the work once and returns its duration in seconds. Startup of the process, of Ray, and of
Ray Data's statistics actors is excluded; startup of the workers that read and encode is included. All join
summary and body, truncate at `max_length`, and write `input_ids` and the stars.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from pipeline.benchmarks.common import MAX_LENGTH, files_of, join
from pipeline.config import Config
from pipeline.progress import Reporter
from pipeline.settings import load_config

_BATCH_ROWS = 1024


def ours(dump: str, output: str, *, whole: bool) -> float:
    """`jobs.prepare`, or its first pass if not `whole`, which does the same work as the other contenders."""
    from pipeline.prepare import stage
    from pipeline.rundir.claim import begin
    from pipeline.runtime.connect import connect

    shutil.rmtree(output, ignore_errors=True)
    config = load_config(None, [f"tokenize.max_length={MAX_LENGTH}"])
    cluster = connect(config.cluster)
    _start_ray_data()
    start = time.monotonic()
    job = stage.plan([dump], output, config)
    if whole:
        stage.prepare(job, cluster, Reporter())
    else:
        begin(job.output, job.run)
        stage.encode_dumps(job, cluster, Reporter())
    return time.monotonic() - start


def ray_stock(dump: str, output: str) -> float:
    """Ray Data as in its documentation: read_json, a tokenizer in map_batches, write_parquet.

    Source: https://docs.ray.io/en/latest/data/working-with-text.html
    """
    import ray
    from transformers import AutoTokenizer

    class Tokenize:
        def __init__(self) -> None:
            self.tokenizer = AutoTokenizer.from_pretrained(model_path())

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            texts = [join(s, t) for s, t in zip(batch["summary"], batch["reviewText"], strict=True)]
            ids = self.tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
            return {"input_ids": ids, "stars": batch["overall"]}

    shutil.rmtree(output, ignore_errors=True)
    ray.init(address="local", log_to_driver=False)
    _start_ray_data()
    start = time.monotonic()
    # An autoscaling pool: a fixed pool with all cores would leave none for the readers and deadlock.
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=os.cpu_count() or 1)
    rows = ray.data.read_json(files_of(dump), arrow_open_stream_args={"compression": "gzip"})
    rows = rows.map_batches(Tokenize, batch_size=_BATCH_ROWS, compute=pool)
    rows.write_parquet(output)
    return time.monotonic() - start


def hugging_face(dump: str, output: str) -> float:
    """Hugging Face datasets: load_dataset("json"), a batched map on all cores, to_parquet.

    Source: https://huggingface.co/docs/datasets/nlp_process
    """
    from datasets import load_dataset
    from transformers import AutoTokenizer

    shutil.rmtree(output, ignore_errors=True)
    Path(output).mkdir(parents=True)
    tokenizer = AutoTokenizer.from_pretrained(model_path())

    def tokenize(batch: dict[str, Any]) -> dict[str, Any]:
        texts = [join(s, t) for s, t in zip(batch["summary"], batch["reviewText"], strict=True)]
        ids = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        return {"input_ids": ids, "stars": batch["overall"]}

    cores = os.cpu_count() or 1
    start = time.monotonic()
    rows = load_dataset(
        "json", data_files=files_of(dump), split="train", cache_dir=f"{output}/cache", num_proc=cores
    )
    rows = rows.map(tokenize, batched=True, num_proc=cores, remove_columns=rows.column_names)
    rows.to_parquet(f"{output}/rows.parquet")
    return time.monotonic() - start


def write_csv(dump: str, folder: str) -> None:
    """Write the files of a dump as CSV in gz, with the fields that rayview reads."""
    fields = ("overall", "verified", "reviewerID", "asin", "summary", "reviewText", "unixReviewTime")
    Path(folder).mkdir()
    for file in files_of(dump):
        with (
            gzip.open(file, "rt", encoding="utf-8") as lines,
            gzip.open(f"{folder}/{Path(file).stem}.csv.gz", "wt", 1, encoding="utf-8", newline="") as out,
        ):
            writer = csv.DictWriter(out, fields, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(json.loads, lines))


def _start_ray_data() -> None:
    import ray.data

    ray.data.range(1).materialize()


def model_path() -> str:
    """Local path of the default model."""
    from pipeline.model.hub import resolve_model

    return str(resolve_model(Config().model.name))
