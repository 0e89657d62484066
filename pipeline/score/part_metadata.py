"""What a scores part says of itself, and whether it is what belongs under its name."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.ingest.ledger import Entry
from pipeline.rundir.manifest import Run
from pipeline.rundir.parts import ENTRY_KEY, part_name

RUN_KEY = b"rayview.run"
MODEL_KEY = b"rayview.model"
SOURCE_KEY = b"rayview.source"
"""Keys in a part's Parquet metadata, beside the account of its chunk."""


class AccountError(ValueError):
    """A part is not what belongs under its name."""


def account_metadata(entry: Entry, run: str, model: str, source: str) -> dict[bytes, bytes]:
    """What `read_account` reads.

    Args:
        run: its key.
        model: its fingerprint.
    """
    texts = {ENTRY_KEY: entry.to_json(), RUN_KEY: run, MODEL_KEY: model, SOURCE_KEY: source}
    return {key: text.encode() for key, text in texts.items()}


def read_account(name: str, metadata: Mapping[bytes, bytes], run: Run) -> Entry:
    """The account of the chunk that a part of a run is of.

    Args:
        name: of the part.
    Raises:
        AccountError: it is of another run, model or file, or of another chunk than its name says.
    """
    try:
        entry = Entry.from_json(metadata[ENTRY_KEY])
        of_run, model, source = (metadata[key].decode() for key in (RUN_KEY, MODEL_KEY, SOURCE_KEY))
    except (KeyError, ValueError, TypeError):
        raise AccountError("does not say which chunk it is of") from None
    own_name = part_name(entry.file, entry.chunk)
    if name != own_name:
        raise AccountError(f"was written as {own_name}: renamed, or a copy")
    if model != run.model_fingerprint:
        raise AccountError(
            f"was scored by another model, {model}; the directory's is {run.model_fingerprint}"
        )
    if of_run != run.key:
        raise AccountError("is of another run, with other settings")
    if entry.file >= len(run.inputs) or source != run.inputs[entry.file].path:
        raise AccountError(f"is of {source}, which is not the file of the input with that number")
    return entry
