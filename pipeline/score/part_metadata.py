"""What a scores part says of itself, and whether it is what belongs under its name."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pipeline.ingest.entry import Entry
from pipeline.rundir.manifest import Run
from pipeline.rundir.parts import ENTRY_KEY, part_name

RUN_KEY = b"rayview.run"
MODEL_KEY = b"rayview.model"
SOURCE_KEY = b"rayview.source"
"""Keys in a part's Parquet metadata, beside the account of its chunk."""


class AccountError(ValueError):
    """A part is not what belongs under its name."""


def account_metadata(entry: Entry, run: str, model: str) -> dict[bytes, bytes]:
    """What `read_account` reads.

    Args:
        run: key of the run.
        model: fingerprint of the model.
    """
    data = entry.as_dict()
    source = data.pop("source")
    texts = {ENTRY_KEY: json.dumps(data), RUN_KEY: run, MODEL_KEY: model, SOURCE_KEY: source}
    return {key: text.encode() for key, text in texts.items()}


def read_account(name: str, metadata: Mapping[bytes, bytes], run: Run) -> Entry:
    """The account of the chunk that a part of a run is of.

    Args:
        name: of the part.
    Raises:
        AccountError: it is of another run, model or file, or of another chunk than its name says.
    """
    try:
        of_run, model, source = (metadata[key].decode() for key in (RUN_KEY, MODEL_KEY, SOURCE_KEY))
        entry = Entry.of_dict(json.loads(metadata[ENTRY_KEY]) | {"source": source})
    except (KeyError, ValueError, TypeError):
        raise AccountError("does not say which chunk it is of") from None
    file = entry.header.file
    own_name = part_name(file, entry.header.chunk)
    if name != own_name:
        raise AccountError(f"was written as {own_name}: renamed, or a copy")
    if model != run.model_fingerprint:
        raise AccountError(
            f"was scored by another model, {model}; the directory's is {run.model_fingerprint}"
        )
    if of_run != run.key:
        raise AccountError("is of another run, with other settings")
    if file >= len(run.inputs) or source != run.inputs[file].path:
        raise AccountError(f"is of {source}, which is not the file of the input with that number")
    return entry
