"""Jobs on running clusters: joined, submitted to, and with several nodes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.score.verify import verify
from pipeline.storage.location import locate
from tests.chaos.job import TRACE
from tests.chaos.kills import SETS, size_of
from tests.commands import ROOT, Outcome, run_in_subprocess, the_line
from tests.main_job import Outputs, check_held_out

pytestmark = pytest.mark.ray

RAY = Path(sys.executable).with_name("ray")


@dataclass
class Head:
    """A running `ray start --head` with one CPU."""

    port: int
    dashboard_port: int
    env: dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # Ray's socket paths must be short, which pytest's folders are not.
    home = Path(tempfile.mkdtemp(prefix="rv-", dir="/tmp"))
    env = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    env |= {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_JOB_STOP_SIGNAL": "SIGINT"}
    env["PATH"] = f"{RAY.parent}:{env['PATH']}"
    subprocess.run([RAY, "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    port, dashboard_port = free_port(), free_port()
    command = [str(RAY), "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    command += [f"--dashboard-port={dashboard_port}", f"--temp-dir={home}/ray", "--disable-usage-stats"]
    # The agent runs the submitted jobs. Its default port may be taken by another Ray of this machine, and
    # then it never answers.
    command += ["--dashboard-agent-listen-port=0"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for wanted in (port, dashboard_port):
            wait_for_port(wanted)
        yield Head(port, dashboard_port, env)
    finally:
        # A graceful shutdown takes half a minute.
        mine = psutil.Process(process.pid).children(recursive=True)
        for each in (process, *mine):
            each.kill()
        psutil.wait_procs(mine, timeout=30)
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def wait_for_port(port: int, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def run_when_ready(submit: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Submit a job; retried, as the dashboard responds some seconds before the agent that runs jobs."""
    deadline = time.monotonic() + 60
    while True:
        done = subprocess.run(submit, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
        if "No available agent" not in done.stderr or time.monotonic() > deadline:
            return done
        time.sleep(1)


def test_the_main_job_runs_when_submitted(head: Head, dump: Path, tiny_model: Path, tmp_path: Path) -> None:
    submit = [str(RAY), "job", "submit", "--address", f"http://127.0.0.1:{head.dashboard_port}"]
    *train, held_out = map(str, sorted(dump.iterdir()))
    submit += ["--working-dir", ".", "--", "python", "-m", "jobs.run", *train, "--score", held_out]
    submit += ["--config", "jobs/configs/demo.toml", "--output", str(tmp_path / "out")]
    submit += ["--set", f"model.name={tiny_model},train.best_by=last"]
    done = run_when_ready(submit, head.env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 node, 1 CPU, 0 GPUs" in done.stdout
    assert "always" in done.stdout
    check_held_out(tmp_path / "out")


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


def test_a_running_cluster_is_joined(head: Head) -> None:
    before = set(Path(head.env["HOME"], "ray").glob("session_2*"))
    env = head.env | {"RAY_ADDRESS": f"127.0.0.1:{head.port}"}
    check_joined(env, "1 node, 1 CPU")
    # The cluster is left running for the second job, whose shell does not set the mode.
    check_joined({name: value for name, value in env.items() if name != "RAY_AUTH_MODE"}, "1 node, 1 CPU")
    assert set(Path(head.env["HOME"], "ray").glob("session_2*")) == before


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "requires an authentication token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}, "rejects the authentication token"),
    ],
)
def test_a_cluster_with_a_token_rejects_others_in_one_line(
    head: Head, env: dict[str, str], problem: str
) -> None:
    start = time.monotonic()
    joined = {**head.env, "RAY_ADDRESS": f"127.0.0.1:{head.port}", **env}
    done = subprocess.run([sys.executable, "-c", JOIN], cwd=ROOT, env=joined, capture_output=True, text=True)
    line = the_line(Outcome(done.returncode, done.stdout, done.stderr))
    assert line.startswith("error: Ray at ")
    assert f"{problem}; copy the token of its head node to ~/.ray/auth_token" in line
    # Ray itself retries for a minute and more.
    assert time.monotonic() - start < 60


def test_a_stopped_job_resumes_when_it_is_submitted_again(
    head: Head, dump: Path, untrained: str, tmp_path: Path
) -> None:
    scores, trace = tmp_path / "scores", tmp_path / "trace"
    score = [sys.executable, "-m", "tests.chaos.job", str(dump), untrained, str(scores), *SETS]
    # Tests are not uploaded with the working directory.
    script = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(score)}"
    address = ["--address", f"http://127.0.0.1:{head.dashboard_port}"]
    about = json.dumps({"env_vars": {TRACE: str(trace)}})
    submit = [str(RAY), "job", "submit", *address, "--runtime-env-json", about]

    started = [*submit, "--no-wait", "--submission-id", "s1", "--", "bash", "-c", script]
    first = run_when_ready(started, head.env)
    assert first.returncode == 0, first.stderr
    deadline = time.monotonic() + 120
    while not (size_of(trace) and list(scores.glob("part-*"))):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    def ray_job(*arguments: str) -> str:
        command = [str(RAY), "job", *arguments, *address]
        done = subprocess.run(command, env=head.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "was stopped" in ray_job("stop", "s1")
    assert "score: interrupted; rerun the same command to resume" in ray_job("logs", "s1")
    done = len(list(scores.glob("part-*")))
    assert not (scores / "manifest.json").exists()

    again = run_when_ready([*submit, "--", "bash", "-c", script], head.env)
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
    """Address of two nodes without a token. A process of its own starts them, as Cluster resets Ray there."""
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
def test_a_cluster_without_a_token_is_joined(open_cluster: str, tmp_path: Path, has_token: bool) -> None:
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
