"""What the tests of run.json, manifests and output directories share: a run, and what it leaves."""

from __future__ import annotations

from typing import Any

from pipeline.rundir.manifest import InputFile, Manifest, Run

FILES = [InputFile(path=f"/in/{n}", size_bytes=1, fingerprint=n * 4) for n in "abc"]
RUN = Run(stage="score", inputs=FILES, model_fingerprint="m1", settings={"score": {"precision": "auto"}})


def manifest_of(run: Run, **values: Any) -> Manifest:
    """A manifest with what every run says, and other values in place of that."""
    data: dict[str, Any] = {
        "config": {},
        "config_digest": "d",
        "outputs": [],
        "seconds": 1.5,
        "environment": {},
    }
    return Manifest(stage=run.stage, inputs=run.inputs, **data | values)
