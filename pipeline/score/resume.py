"""What a scores directory holds already."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow.parquet as pq

from pipeline.errors import OutputError
from pipeline.ledger import Entry
from pipeline.manifest import OutputFile
from pipeline.objectstore import explain, is_from_store
from pipeline.parts import ENTRY_KEY
from pipeline.storage import Location

_PART = re.compile(r"part-\d{5,}-\d{6,}\.parquet")
_THREADS = 16


def committed_entries(output: Location) -> list[Entry]:
    """The accounts of all chunks whose part is in the directory, from the parts' own metadata.

    Raises:
        OutputError: a part that cannot be read or was not written by the scoring job.
    """
    parts = [f for f in output.list_files(recursive=False) if _PART.fullmatch(f.name)]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_read_entry, parts))


def _read_entry(part: Location) -> Entry:
    try:
        with part.open_input() as file:
            footer = pq.read_metadata(file)
            size = file.size()
        entry = Entry.from_json((footer.metadata or {})[ENTRY_KEY])
        own = OutputFile(path=part.name, rows=footer.num_rows, bytes=size)
        return replace(entry, outputs=[*entry.outputs, own])
    except (OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and is_from_store(error):
            raise OutputError(f"{part.uri}: cannot be read: {explain(error)}") from None
        raise OutputError(
            f"{part.uri}: not a whole part of this job; delete it and give the command again"
        ) from None
