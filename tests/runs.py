"""Sample runs and manifests, for tests of run.json, manifests and output directories."""

from __future__ import annotations

from typing import Any

from pipeline.config import Config
from pipeline.details import Bill, ScoreDetails, StepSeconds
from pipeline.evaluate import stage as evaluate_stage
from pipeline.model.card import ModelCard
from pipeline.prepare import stage as prepare_stage
from pipeline.rundir.environment import Environment
from pipeline.rundir.manifest import InputFile, Manifest, Run
from pipeline.score import stage as score_stage
from pipeline.train import stage as train_stage

DECLARATIONS = {
    "prepare": prepare_stage.DECLARATION,
    "train": train_stage.DECLARATION,
    "score": score_stage.DECLARATION,
    "evaluate": evaluate_stage.DECLARATION,
}
FILES = [InputFile(path=f"/in/{n}", size_bytes=1, fingerprint=n * 4) for n in "abc"]
RUN = Run(
    stage="score",
    inputs=FILES,
    model_fingerprint="m1",
    settings={"score": {"precision": "auto"}},
    declaration=DECLARATIONS["score"],
)

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


CARD = ModelCard(
    base_model="tiny",
    labels=["1", "2"],
    scheme="stars",
    stars_to_label={},
    max_length=16,
    text=None,
    text_separator=" ",
    data_fingerprint="none",
)


def run_of(stage: str) -> Run:
    """A run of a stage, with the declaration of that stage."""
    return RUN.model_copy(update={"stage": stage, "declaration": DECLARATIONS[stage]})


def manifest_of(run: Run, **values: Any) -> Manifest[ScoreDetails]:
    """A manifest of a run; `values` override the defaults, which are those of an empty job."""
    data: dict[str, Any] = {
        "config": Config(),
        "config_digest": "d",
        "outputs": [],
        "seconds": 1.5,
        "environment": Environment(python="3", platform="Linux", packages={}, git_commit=None),
        "details": DETAILS,
    }
    return Manifest(stage=run.stage, inputs=run.inputs, **data | values)
