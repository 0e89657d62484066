"""Jobs on running clusters: joined, submitted with `ray job submit`, and on several nodes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.chaos.job import TRACE
from tests.chaos.kills import SETS, size_of
from tests.commands import ROOT, Outcome, run_in_subprocess, the_line
from tests.main_job import Outputs
from tests.ray_head import Head

pytestmark = pytest.mark.ray

TOKEN = 8 * "abcd"

JOIN = """
from jobs.cli import session
from pipeline.config import Config

def generate():
    yield "a task ran"

with session("trial") as job:
    job.connect(Config())
    import ray
    # The worker calls the driver for each item: a driver with a token rejects calls without one.
    for item in ray.remote(generate).options(num_returns="streaming").remote():
        job.print(ray.get(item))
"""


def check_joined(env: dict[str, str], resources: str) -> None:
    """Join a cluster, run a task on it, and leave it."""
    join = [sys.executable, "-c", JOIN]
    done = subprocess.run(join, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert resources in done.stderr
    assert done.stdout == "a task ran\n"


def test_running_cluster_is_joined(head: Head) -> None:
    before = set((head.home / "ray").glob("session_2*"))
    env = {**head.env, "RAY_ADDRESS": f"127.0.0.1:{head.port}"}
    check_joined(env, "1 node, 1 CPU")
    # The first job leaves the cluster running; the second joins without RAY_AUTH_MODE in its environment.
    check_joined({name: value for name, value in env.items() if name != "RAY_AUTH_MODE"}, "1 node, 1 CPU")
    assert set((head.home / "ray").glob("session_2*")) == before


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "requires an authentication token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}, "rejects the authentication token"),
    ],
)
def test_cluster_with_a_token_rejects_others_in_one_line(
    head: Head, env: dict[str, str], problem: str
) -> None:
    start = time.monotonic()
    joined = {**head.env, "RAY_ADDRESS": f"127.0.0.1:{head.port}", **env}
    done = subprocess.run([sys.executable, "-c", JOIN], cwd=ROOT, env=joined, capture_output=True, text=True)
    line = the_line(Outcome(done.returncode, done.stdout, done.stderr))
    assert line.startswith("error: Ray at ")
    assert f"{problem}; copy the token of its head node to ~/.ray/auth_token" in line
    # Ray itself retries for over a minute.
    assert time.monotonic() - start < 60


def test_stopped_job_resumes_when_it_is_submitted_again(
    head: Head, dump: Path, untrained: str, tmp_path: Path
) -> None:
    scores, trace = tmp_path / "scores", tmp_path / "trace"
    score = [sys.executable, "-m", "tests.chaos.job", str(dump), untrained, str(scores), *SETS]
    # Tests are not uploaded with the working directory.
    script = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(score)}"
    runtime_env = json.dumps({"env_vars": {TRACE: str(trace)}})
    options, job = ("--runtime-env-json", runtime_env), ("--", "bash", "-c", script)

    first = head.submit(*options, "--no-wait", "--submission-id", "s1", *job)
    assert first.returncode == 0, first.stderr
    deadline = time.monotonic() + 120
    while not (size_of(trace) and list(scores.glob("part-*"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    def ray_job(*arguments: str) -> str:
        done = head.ray_job(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "was stopped" in ray_job("stop", "s1")
    assert "score: interrupted; rerun the same command to resume" in ray_job("logs", "s1")
    done = len(list(scores.glob("part-*")))
    assert not (scores / "manifest.json").exists()

    again = head.submit(*options, *job)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{done} chunk" in again.stdout
    assert verify(locate(scores)).faults == {}


NODES = """
import sys
from ray.cluster_utils import Cluster

nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes.add_node(num_cpus=1)
print(nodes.address, flush=True)
sys.stdin.read()
nodes.shutdown()
"""


@pytest.fixture(scope="module")
def open_cluster() -> Iterator[str]:
    """Address of two nodes without a token; a subprocess starts them, because Cluster resets Ray."""
    env = os.environ | {"RAY_AUTH_MODE": "disabled"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", NODES], env=env, **pipes) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
            process.communicate(timeout=60)
        finally:
            process.kill()


@pytest.mark.parametrize("has_token", [True, False], ids=["with-a-token", "without"])
def test_cluster_without_a_token_is_joined(open_cluster: str, tmp_path: Path, has_token: bool) -> None:
    if has_token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text(TOKEN)
    env = {k: v for k, v in os.environ.items() if k != "RAY_AUTH_MODE"}
    env |= {"HOME": str(tmp_path), "RAY_ADDRESS": open_cluster}
    check_joined(env, "2 nodes, 2 CPUs")


def test_local_paths_need_a_shared_folder_on_several_nodes(
    outputs: Outputs, open_cluster: str, tmp_path: Path
) -> None:
    report, env = tmp_path / "report", {"RAY_ADDRESS": open_cluster, "RAY_AUTH_MODE": "disabled"}
    arguments = ("--scores", outputs.scores, "--output", report)
    line = the_line(run_in_subprocess("evaluate", *arguments, env=env))
    assert line.startswith(f"error: {report}: a path on this machine, but the cluster has 2 nodes")
    assert "--set cluster.storage_path=FOLDER" in line
    assert not report.exists()
    shared = ("--set", "cluster.storage_path=/tmp")
    done = run_in_subprocess("evaluate", *arguments, *shared, env=env)
    assert done.code == 0, done.stderr
    assert (report / "metrics.json").read_bytes() == (outputs.report / "metrics.json").read_bytes()
