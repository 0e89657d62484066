"""A run and its manifest, for tests of run.json, manifests and output directories."""

from __future__ import annotations

from typing import Any

from pipeline.config import Config
from pipeline.details import Bill, ScoreDetails, StepSeconds
from pipeline.rundir.manifest import Environment, InputFile, Manifest, Run

FILES = [InputFile(path=f"/in/{n}", size_bytes=1, fingerprint=n * 4) for n in "abc"]
RUN = Run(stage="score", inputs=FILES, model_fingerprint="m1", settings={"score": {"precision": "auto"}})

_NO_TIME = StepSeconds(encode=0, score=0, write=0)
BILL = Bill(
    rows=0,
    rows_per_s=0,
    tokens_per_s=0,
    padding_frac=0,
    repeated_rows=0,
    repeated_tokens_frac=0,
    busy_s=_NO_TIME,
    waited_s=_NO_TIME,
    most_waiting_chunks=0,
    halvings=0,
    elapsed_s=0,
    devices=1,
    device_hours=0,
)
DETAILS = ScoreDetails(
    chunk_bytes=1024,
    precision="float32",
    batch_tokens=2048,
    compiled=False,
    kernels=False,
    labels=["1", "2"],
    scheme="stars",
    tokens=0,
    bill=BILL,
    formats={},
    broken=[],
)


def manifest_of(run: Run, **values: Any) -> Manifest[ScoreDetails]:
    """A manifest of a run; `values` replace the defaults, those of a job that had nothing to do."""
    data: dict[str, Any] = {
        "config": Config(),
        "config_digest": "d",
        "outputs": [],
        "seconds": 1.5,
        "environment": Environment(),
        "details": DETAILS,
    }
    return Manifest(stage=run.stage, inputs=run.inputs, **data | values)
