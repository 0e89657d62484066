"""Progress of a job, derived from the parts that exist."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import OutputError
from pipeline.ingest.detect.sources import Source
from pipeline.rundir.parts import part_name
from pipeline.score.resume import Done, committed_entries, find_committed, unfinished_sources
from pipeline.storage.location import locate
from tests.score.written import CHUNKS, LAST, MIDDLE, PART, RUN, write_chunk

ROOT = Path(__file__).resolve().parents[2]


def test_complete_directory_has_all_chunks_committed(scores: Path) -> None:
    found = find_committed(locate(scores), RUN)
    assert {f: c.numbers.tolist() for f, c in found.items()} == {0: [0, 1, 2], 1: [0, 1]}
    assert all((c.ended, c.joined) == (True, CHUNKS[f]) for f, c in found.items())
    assert all(c.bytes_read == 9 for c in found.values())
    entries = list(committed_entries(locate(scores), RUN, found))
    assert [(e.header.file, e.header.chunk) for e in entries] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert [o.path for e in entries[:2] for o in e.outputs] == [PART, f"rejects/{MIDDLE}", MIDDLE]


@pytest.mark.parametrize(
    ("gone", "joined", "ended"), [([0], 0, False), ([1], 1, False), ([2], 2, False), ([0, 2], 0, False)]
)
def test_file_with_gaps_is_unfinished(scores: Path, gone: list[int], joined: int, ended: bool) -> None:
    for number in gone:
        (scores / part_name(0, number)).unlink()
    found = find_committed(locate(scores), RUN)[0]
    assert (found.joined, found.ended) == (joined, ended)
    done = found.done
    assert [n in done for n in range(5)] == [n < 3 and n not in gone for n in range(5)]


def test_empty_directory_has_no_committed_chunks(tmp_path: Path) -> None:
    assert find_committed(locate(tmp_path), RUN) == {}


def test_only_unfinished_files_are_read(scores: Path) -> None:
    sources = [Source(i, f"/in/{n}", 1, "f") for i, n in enumerate("abc")]
    assert unfinished_sources(sources, None, find_committed(locate(scores), RUN)) == sources[2:]
    (scores / LAST).unlink()
    committed = find_committed(locate(scores), RUN)
    assert unfinished_sources(sources, None, committed) == [sources[0], sources[2]]
    # max_rows counts over all files, so finished files must be counted again.
    assert unfinished_sources(sources, 7, committed) == sources


def test_only_the_last_part_of_each_file_is_opened(scores: Path) -> None:
    (scores / PART).write_bytes(b"not opened")
    found = find_committed(locate(scores), RUN)
    assert found[0].ended
    # Reading the entries opens every part.
    with pytest.raises(OutputError, match=f"{PART}: not a complete part of this job; delete it and"):
        list(committed_entries(locate(scores), RUN, found))
    (scores / LAST).write_bytes(b"opened")
    with pytest.raises(OutputError, match=LAST):
        find_committed(locate(scores), RUN)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"settings": {"input": {"max_rows": 7}}}, "belongs to another run, with different settings"),
        ({"model_fingerprint": "model 2"}, "was scored by another model, model 2; this"),
    ],
)
def test_part_of_another_run_is_refused(scores: Path, other: dict[str, Any], words: str) -> None:
    another = RUN.model_copy(update=other)
    write_chunk(scores, 0, 1, run=another)
    found = find_committed(locate(scores), RUN)
    with pytest.raises(OutputError, match=f"{MIDDLE}: {words}.*; move it away and rerun the command"):
        list(committed_entries(locate(scores), RUN, found))
    write_chunk(scores, 0, 2, run=another)
    with pytest.raises(OutputError, match=f"{LAST}: {words}"):
        find_committed(locate(scores), RUN)


def test_renamed_or_copied_part_is_refused(scores: Path) -> None:
    shutil.copy(scores / PART, scores / MIDDLE)
    with pytest.raises(OutputError, match=f"{MIDDLE}: was written as {PART}: renamed or copied; move it"):
        list(committed_entries(locate(scores), RUN, find_committed(locate(scores), RUN)))
    stray = part_name(7, 0)
    shutil.copy(scores / PART, scores / stray)
    with pytest.raises(OutputError, match=f"{stray}: the input has no file with this number; move"):
        find_committed(locate(scores), RUN)


def test_done_contains_the_prefix_and_the_listed_numbers() -> None:
    done = Done(3, frozenset({5, 8}))
    assert [n for n in range(10) if n in done] == [0, 1, 2, 5, 8]


PLAN = """
import json, resource, sys, time
from pipeline.score.resume import find_committed
from pipeline.storage.location import locate
from tests.score.written import RUN

before = time.monotonic()
found = find_committed(locate(sys.argv[1]), RUN)
done = [c.done.below for c in found.values()]
took_s = time.monotonic() - before
peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([done, [c.ended for c in found.values()], took_s, peak_kib]))
"""


@pytest.mark.slow
def test_a_million_parts_are_scanned_within_60_s_and_1_gib(tmp_path: Path) -> None:
    chunks = 500_000
    for file in range(2):
        # Empty files suffice: only the last part is opened.
        for number in range(chunks - 1):
            (tmp_path / part_name(file, number)).touch()
        write_chunk(tmp_path, file, chunks - 1, last=file == 0)
    plan = [sys.executable, "-c", PLAN, str(tmp_path)]
    done = subprocess.run(plan, cwd=ROOT, capture_output=True, text=True, check=True)
    below, ended, took_s, peak_kib = json.loads(done.stdout)
    assert (below, ended) == ([chunks, chunks], [True, False])
    assert took_s < 60
    assert peak_kib < 1 << 20
