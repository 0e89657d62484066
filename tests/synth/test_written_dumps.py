"""Files of synthetic dumps: reproducibility, shards, worker processes, interrupts, and jobs.synth."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs as pafs

from pipeline.errors import OutputError, SettingError
from pipeline.storage.expand import expand_inputs
from pipeline.storage.location import Location, locate
from pipeline.synth import BLOCK_ROWS, FORMATS, DumpSpec, iter_reviews, write_dump
from pipeline.synth.claim import SPEC_FILE
from tests.commands import RunJob

ROOT = Path(__file__).parents[2]


def lines_of(files: list[Any]) -> list[str]:
    return [line for f in files for line in gzip.decompress(f.read_bytes()).decode().splitlines()]


def test_same_arguments_result_in_the_same_bytes(tmp_path: Path) -> None:
    first, again = (write_dump(locate(tmp_path / n), rows=500, shards=2, seed=3).files for n in "ab")
    assert [f.name for f in first] == ["reviews-00000-of-00002.json.gz", "reviews-00001-of-00002.json.gz"]
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in again]
    assert first[0].read_bytes()[4:8] == bytes(4), "the gzip header has a time"


def test_seeds_result_in_different_rows() -> None:
    one, other = (list(iter_reviews(seed, 0, 200)) for seed in (0, 1))
    assert sum(a == b for a, b in zip(one, other, strict=True)) == 0


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_rows_do_not_depend_on_the_number_of_shards(tmp_path: Path, shards: int) -> None:
    rows = BLOCK_ROWS + 801  # Shards end inside blocks, and a block ends inside a shard.
    whole = lines_of(write_dump(locate(tmp_path / "one"), rows, 1, seed=5).files)
    files = write_dump(locate(tmp_path / "many"), rows, shards, seed=5).files
    assert lines_of(files) == whole
    assert len(whole) == rows
    counts = [len(lines_of([file])) for file in files]
    assert max(counts) - min(counts) <= 1


def test_longer_dump_starts_with_the_shorter_one() -> None:
    longer = list(iter_reviews(0, 0, 5_000))
    assert longer[:37] == list(iter_reviews(0, 0, 37))
    assert longer[4_000:4_100] == list(iter_reviews(0, 4_000, 4_100))


@pytest.mark.parametrize(("rows", "shards"), [(1, 1), (10, 3), (10, 10)])
def test_row_counts_are_exact(tmp_path: Path, rows: int, shards: int) -> None:
    files = write_dump(locate(tmp_path), rows, shards).files
    assert len(files) == shards
    assert len(lines_of(files)) == rows


@pytest.mark.parametrize(("rows", "shards", "shown"), [(0, 1, "0"), (5, 0, "0"), (5, 6, "6"), (-1, 2, "-1")])
def test_invalid_numbers_are_refused(tmp_path: Path, rows: int, shards: int, shown: str) -> None:
    with pytest.raises(SettingError, match=rf"rows={rows}, shards={shards}"):
        write_dump(locate(tmp_path), rows, shards)
    assert list(tmp_path.iterdir()) == []


def test_negative_seed_is_refused() -> None:
    with pytest.raises(SettingError, match="seed=-1"):
        DumpSpec(rows=1, seed=-1)


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ({"fmt": "2019"}, "format=2019: unknown; choose one of 2014, 2018, 2023"),
        ({"broken_frac": 1.5}, "broken_frac=1.5"),
        ({"broken_frac": float("nan")}, "broken_frac=nan"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, setting: dict[str, Any], shown: str) -> None:
    with pytest.raises(SettingError, match=shown):
        write_dump(locate(tmp_path), rows=5, **setting)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fmt", FORMATS)
def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, fmt: str) -> None:
    arguments: dict[str, Any] = {"rows": 2_500, "shards": 3, "fmt": fmt, "broken_frac": 0.05}
    progress: list[int] = []
    one = write_dump(locate(tmp_path / "one"), **arguments, progress=progress.append)
    two = write_dump(locate(tmp_path / "two"), **arguments, workers=2)
    for alone, together in zip(one.files, two.files, strict=True):
        assert gzip.decompress(alone.read_bytes()) == gzip.decompress(together.read_bytes())
        assert alone.read_bytes() == together.read_bytes()
    assert one.broken == two.broken
    assert sum(progress) == 2_500


def test_progress_of_worker_processes(tmp_path: Path) -> None:
    progress: list[int] = []
    write_dump(locate(tmp_path), rows=10, shards=4, workers=2, progress=progress.append)
    assert sorted(progress) == [2, 2, 3, 3]


def test_failed_shard_leaves_no_file(tmp_path: Path) -> None:
    blocked = tmp_path / "reviews-00000-of-00001.json.gz"
    blocked.mkdir()
    with pytest.raises(OutputError, match=r"reviews-00000-of-00001\.json\.gz: cannot be written"):
        write_dump(locate(tmp_path), rows=10)
    assert list(tmp_path.iterdir()) == [blocked]


def test_interrupt_keeps_the_old_file(tmp_path: Path) -> None:
    old = write_dump(locate(tmp_path), rows=10, seed=1).files[0].read_bytes()

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dump(locate(tmp_path), rows=10, seed=2, progress=stop)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [old]


def test_object_store_contains_complete_files_only(tmp_path: Path) -> None:
    store = Location(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "dump", "store://dump")
    written = write_dump(store, rows=10, shards=2, seed=1).files
    local = write_dump(locate(tmp_path / "local"), rows=10, shards=2, seed=1).files
    assert [f.read_bytes() for f in written] == [f.read_bytes() for f in local]
    assert len(store.list_files()) == 2

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dump(store, rows=10, shards=3, progress=stop)
    assert [f.name for f in store.list_files()] == [f.name for f in written]


MEMORY = """
import resource, sys
from pipeline.storage.location import locate
from pipeline.synth import write_dump
for rows in map(int, sys.argv[2:]):
    write_dump(locate(sys.argv[1]), rows)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    # 35,000 more rows have 15 MB of text.
    command = [sys.executable, "-c", MEMORY, str(tmp_path), "5000", "40000"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
    assert many - few < 10


def test_summary_of_the_job(run_job: RunJob, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    sizes = ("--rows", 3_000, "--shards", 2, "--seed", 4)
    done = run_job("synth", "--output", dump, *sizes, "--format", "2023", "--broken-frac", 0.1)
    assert done.code == 0, done.stderr
    other = write_dump(locate(tmp_path / "other"), 3_000, 2, 4, fmt="2023", broken_frac=0.1)
    kinds = ", ".join(f"{count} {kind}" for kind, count in other.broken.items())
    assert f"3,000 reviews, {other.broken_rows} of them broken ({kinds}), 2 files" in done.stderr
    assert [(dump / f.name).read_bytes() for f in other.files] == [f.read_bytes() for f in other.files]
    done = run_job("synth", "--output", tmp_path / "one", "--rows", 1, "--shards", 1)
    assert "synth: 1 review, 1 file, " in done.stderr


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        (("--seed", 2), "seed: the existing dump has 1, this one has 2"),
        (("--seed", 1, "--format", "2014"), "format: the existing dump has 2018, this one has 2014"),
        (("--seed", 1, "--rows", 21), "rows: the existing dump has 20, this one has 21"),
        (("--seed", 1, "--broken-frac", 0.5), "broken_frac: the existing dump has 0.0, this one has 0.5"),
        (("--seed", 1, "--shards", 3), "shards: the existing dump has 2, this one has 3"),
    ],
)
def test_another_dump_in_the_same_directory_is_refused(
    run_job: RunJob, tmp_path: Path, other: tuple[object, ...], shown: str
) -> None:
    dump = tmp_path / "dump"
    assert run_job("synth", "--output", dump, "--rows", 20, "--shards", 2, "--seed", 1).code == 0
    before = {f.name: f.read_bytes() for f in dump.iterdir()}
    done = run_job("synth", "--output", dump, "--rows", 20, "--shards", 2, *other)
    assert done.code == 2
    assert done.stderr == (
        f"error: {dump}: contains another dump ({shown}); choose an empty or new --output\n"
    )
    assert {f.name: f.read_bytes() for f in dump.iterdir()} == before
    assert run_job("synth", "--output", dump, "--rows", 20, "--shards", 2, "--seed", 1).code == 0
    assert {f.name: f.read_bytes() for f in dump.iterdir()} == before


def test_temporary_files_and_an_unknown_dump_are_deleted(run_job: RunJob, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    write_dump(locate(dump), rows=20, shards=2, seed=1)
    (dump / ".rayview-tmp-1f-reviews-00000-of-00002.json.gz").write_bytes(b"half")
    done = run_job("synth", "--output", dump, "--rows", 20, "--shards", 2, "--seed", 2)
    assert "synth: deleted 2 files of an earlier dump with unknown parameters\n" in done.stderr
    names = [f"reviews-0000{k}-of-00002.json.gz" for k in range(2)]
    assert sorted(f.name for f in dump.iterdir()) == [SPEC_FILE, *names]
    # Jobs whose input is the directory ignore the specification file.
    assert [f.name for f in expand_inputs([str(dump)])] == names


def start_large_dump(output: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A job that writes large shards in two workers, and the process IDs of the workers."""
    sizes = ("--rows", "4000000", "--shards", "4", "--workers", "2")
    command = [sys.executable, "-m", "jobs.synth", "--output", str(output), *sizes]
    parent = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(list(output.glob(".rayview-tmp-*-reviews-*"))) == 2)
    return parent, children(parent.pid)


def wait_until(holds: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(parent: int) -> list[int]:
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                pids.append(int(stat.parent.name))
    return pids


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "signum", [signal.SIGTERM, signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_workers_exit_with_their_parent_and_leave_no_files(tmp_path: Path, signum: signal.Signals) -> None:
    parent, workers = start_large_dump(tmp_path)
    try:
        assert len(workers) >= 2
        start = time.monotonic()
        parent.send_signal(signum)
        _, stderr = parent.communicate(timeout=10)
        if signum != signal.SIGKILL:
            assert parent.returncode == 1
            assert stderr.endswith("synth: interrupted; rerun the same command to resume\n")
            assert time.monotonic() - start < 5
        wait_until(lambda: not any(map(is_alive, workers)), timeout_s=10)
    finally:
        parent.kill()
        for worker in filter(is_alive, workers):
            os.kill(worker, signal.SIGKILL)
    assert [f.name for f in tmp_path.iterdir()] == [SPEC_FILE]


def test_message_for_a_full_disk(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    sizes = ("--rows", "2000", "--shards", "1")
    command = [sys.executable, "-m", "jobs.synth", "--output", str(tmp_path), *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr.endswith("json.gz: cannot be written: Error writing bytes to file: File too large\n")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("--format", "2019"), "format=2019: unknown; choose one of 2014, 2018, 2023"),
        (("--broken-frac", "-0.1"), "broken_frac=-0.1: must be between 0 and 1"),
        (("--rows", "3", "--shards", "4"), "more shards than rows; use at most 3 shards"),
        (("--workers", "0"), "workers=0: must be at least 1"),
    ],
)
def test_job_prints_one_line_for_invalid_settings(
    run_job: RunJob, tmp_path: Path, arguments: tuple[str, ...], shown: str
) -> None:
    done = run_job("synth", "--output", tmp_path / "dump", *arguments)
    assert done.code == 2
    assert done.stderr.count("\n") == 1
    assert shown in done.stderr
    assert not (tmp_path / "dump").exists()
