"""Metadata of scores parts, and the check that a part belongs under its name."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pipeline.ingest.entry import Entry
from pipeline.rundir.manifest import Run
from pipeline.rundir.parts import ENTRY_KEY, part_name

RUN_KEY = b"rayview.run"
MODEL_KEY = b"rayview.model"
SOURCE_KEY = b"rayview.source"
"""Keys in a part's Parquet metadata, in addition to the account of its chunk."""


class AccountError(ValueError):
    """A part does not belong under its name."""


def account_metadata(entry: Entry, run: str, model: str) -> dict[bytes, bytes]:
    """Parquet metadata that `read_account` reads.

    Args:
        run: key of the run.
        model: fingerprint of the model.
    """
    data = entry.as_dict()
    source = data.pop("source")
    texts = {ENTRY_KEY: json.dumps(data), RUN_KEY: run, MODEL_KEY: model, SOURCE_KEY: source}
    return {key: text.encode() for key, text in texts.items()}


def read_account(name: str, metadata: Mapping[bytes, bytes], run: Run) -> Entry:
    """Account of the chunk of a part.

    Args:
        name: name of the part.
    Raises:
        AccountError: the part belongs to another run, model or file, or to another chunk than its name.
    """
    try:
        of_run, model, source = (metadata[key].decode() for key in (RUN_KEY, MODEL_KEY, SOURCE_KEY))
        entry = Entry.of_dict(json.loads(metadata[ENTRY_KEY]) | {"source": source})
    except (KeyError, ValueError, TypeError):
        raise AccountError("does not state which chunk it belongs to") from None
    file = entry.header.file
    own_name = part_name(file, entry.header.chunk)
    if name != own_name:
        raise AccountError(f"was written as {own_name}: renamed or copied")
    if model != run.model_fingerprint:
        raise AccountError(
            f"was scored by another model, {model}; this directory's model is {run.model_fingerprint}"
        )
    if of_run != run.key:
        raise AccountError("belongs to another run, with different settings")
    if file >= len(run.inputs) or source != run.inputs[file].path:
        raise AccountError(f"belongs to {source}, which is not the input file with that number")
    return entry
