"""A scoring job whose processes are killed at random writes the same rows as an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.rundir import claim
from pipeline.score.verify import verify
from pipeline.storage import objectstore
from pipeline.storage.location import locate
from tests.chaos.kills import rows_of, run_to_completion
from tests.s3server import environment, s3_client

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]

SEEDS = 25
SEEDS_ON_S3 = 3


def check(
    dump: Path, model: str, undisturbed: tuple[Path, int], folder: Path, seed: int, output: str | None = None
) -> None:
    scores, chunks = undisturbed
    found = run_to_completion(dump, model, folder, seed, output)
    print(  # noqa: T201  Shown by pytest -s.
        f"\nseed {seed}: {found.starts} starts, kills {dict(found.kills)},"
        f" {found.chunks_started - chunks} of {chunks} chunks repeated"
    )
    assert found.kills.total() > 0
    where = output or folder / "scores"
    assert rows_of(where).equals(rows_of(scores))
    assert verify(locate(where)).faults == {}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_job_killed_repeatedly_writes_the_same_rows(
    chaos_dump: Path, untrained: str, undisturbed: tuple[Path, int], tmp_path: Path, seed: int
) -> None:
    check(chaos_dump, untrained, undisturbed, tmp_path, seed)


@pytest.mark.parametrize("seed", range(SEEDS, SEEDS + SEEDS_ON_S3))
def test_job_killed_repeatedly_writes_the_same_rows_to_a_bucket(
    chaos_dump: Path,
    untrained: str,
    undisturbed: tuple[Path, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    objectstore.connect.cache_clear()
    try:
        # Buckets outlive the server within a process, so each test uses its own name.
        s3_client(url).create_bucket(Bucket=f"chaos-{seed}")
        check(chaos_dump, untrained, undisturbed, tmp_path, seed, f"s3://chaos-{seed}/scores")
    finally:
        claim.release_outputs()
        objectstore.connect.cache_clear()
        server.stop()
