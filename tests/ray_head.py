"""A Ray cluster of one CPU, started as users start it, to which jobs are submitted or which they join."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.commands import ROOT

RAY = Path(sys.executable).with_name("ray")

JOB_TIMEOUT_S = 400


@dataclass(frozen=True)
class Head:
    """A running `ray start --head`."""

    home: Path
    port: int
    dashboard_port: int
    env: Mapping[str, str]
    """The environment of a shell that uses the cluster."""

    def ray_job(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `ray job` with the address of this cluster."""
        verb, *others = arguments
        address = f"--address=http://127.0.0.1:{self.dashboard_port}"
        command = [str(RAY), "job", verb, address, *others]
        return subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=timeout_s
        )

    def submit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Submit a job. The dashboard answers some seconds before its agent, which runs jobs, is ready.

        A job that does not end in time is stopped, because it would delay the next one.
        """
        deadline = time.monotonic() + 60
        while True:
            try:
                done = self.ray_job("submit", *arguments, timeout_s=JOB_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                output = (error.stdout or b"").decode()
                for job in re.findall(r"Job '(\S+)' submitted", output):
                    self.ray_job("stop", job)
                raise AssertionError(f"the job did not end within {JOB_TIMEOUT_S} s:\n{output}") from None
            if "No available agent" not in done.stderr or time.monotonic() > deadline:
                return done
            time.sleep(1)


@contextmanager
def start_head() -> Iterator[Head]:
    """A head that is killed at the end."""
    # The paths of Ray's sockets must be short, so pytest's own folders are unsuitable.
    home = Path(tempfile.mkdtemp(prefix="rv-", dir="/tmp"))
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    env |= {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_JOB_STOP_SIGNAL": "SIGINT"}
    env["PATH"] = f"{RAY.parent}:{env['PATH']}"
    # By default a cluster of one CPU keeps one idle worker process, and each stage starts new ones.
    env |= {"RAY_num_workers_soft_limit": "6", "RAY_idle_worker_killing_time_threshold_ms": "60000"}
    subprocess.run([RAY, "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    port, dashboard_port = free_port(), free_port()
    command = [str(RAY), "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    command += [f"--dashboard-port={dashboard_port}", f"--temp-dir={home}/ray", "--disable-usage-stats"]
    # The agent runs submitted jobs. Any other Ray of this machine occupies its default port, and without a
    # port it never answers.
    command += ["--dashboard-agent-listen-port=0"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for wanted in (port, dashboard_port):
            wait_for_port(wanted)
        yield Head(home, port, dashboard_port, env)
    finally:
        # A graceful stop takes half a minute.
        processes = psutil.Process(process.pid).children(recursive=True)
        for each in (process, *processes):
            each.kill()
        psutil.wait_procs(processes, timeout=30)
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 90) -> None:
    """Wait until something listens on a port of this machine."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
