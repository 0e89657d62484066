"""Interleaved runs of several contenders, so that other load on the machine affects all of them."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import RayviewError

_ROOT = Path(__file__).parents[2]

_SEPARATE_ENVIRONMENTS = {"pipeline.benchmarks.peer_daft": "daft"}
"""Contenders whose packages conflict with rayview's; `make NAME` creates the environment .venv-NAME."""

_RESULT = "took_s="
"""Prefix of the output line with a contender's result."""


def run_rounds(
    calls: Mapping[str, tuple[str, dict[str, Any]]],
    rounds: int,
    say: Callable[[str], None],
    may_fail: Collection[str] = (),
) -> dict[str, list[float]]:
    """Durations of all contenders, each run once per round in a separate process.

    Args:
        calls: contender → `module:function` and its arguments (JSON-serializable). The function returns its
            duration in seconds, without startup of its process and of Ray, unless that is measured.
        rounds: number of rounds.
        say: prints a progress message.
        may_fail: contenders that are skipped if they fail.
    Returns:
        Seconds by contender, one value per round.
    Raises:
        RayviewError: another contender failed; the message contains the last error of its output.
    """
    seconds: dict[str, list[float]] = {}
    for name, (target, _) in calls.items():
        environment = _separate_environment(target)
        if environment is None or Path(_ROOT, f".venv-{environment}", ".ready").exists():
            seconds[name] = []
        else:
            say(f"skipped: {name}: not installed; run make {environment}")
    for number in range(rounds):
        for name in list(seconds):
            try:
                seconds[name].append(_run(name, *calls[name]))
            except RayviewError as error:
                if name not in may_fail:
                    raise
                say(f"skipped: {error}")
                del seconds[name]
                continue
            say(f"round {number + 1} of {rounds}: {name} took {seconds[name][-1]:.1f} s")
    return seconds


def _run(name: str, target: str, arguments: dict[str, Any]) -> float:
    command = [_python(target), "-m", "pipeline.benchmarks.rounds", target, json.dumps(arguments)]
    environment = os.environ | {"RAY_ADDRESS": "local", "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RayviewError(
            f"benchmark: {name} ended with exit code {done.returncode}: {_reason(done.stderr)}"
        )
    # Ray may print other lines at any time.
    return next(float(line[len(_RESULT) :]) for line in done.stdout.splitlines() if line.startswith(_RESULT))


def _separate_environment(target: str) -> str | None:
    return _SEPARATE_ENVIRONMENTS.get(target.partition(":")[0])


def _python(target: str) -> str:
    environment = _separate_environment(target)
    return str(_ROOT / f".venv-{environment}" / "bin" / "python") if environment else sys.executable


def _reason(stderr: str) -> str:
    """Last error in the output of a process, without Ray's wrapper errors; else the last line."""
    errors = re.findall(r"^(?!ray\.)[\w.]*(?:Error|Exception)\b.*$", stderr, re.MULTILINE)
    return str([*(stderr.strip().splitlines()[-1:] or ["no message"]), *errors][-1])


def results(bench: str, unit: str, rates: Mapping[str, list[float]], ours: str) -> list[dict[str, Any]]:
    """Entries for `jobs.bench --json`.

    Args:
        rates: contender → one value per round; higher is better, unless the unit is seconds.
        ours: the contender with which the others are compared.
    Returns:
        Median, minimum and maximum of each contender, and the median over the rounds of ours / contender, or
        contender / ours for seconds. So a ratio above 1 means that ours is better.
    """
    power = -1 if unit == "s" else 1
    return [
        {
            "bench": bench,
            "contender": name,
            "unit": unit,
            "median": statistics.median(values),
            "low": min(values),
            "high": max(values),
            "ratio": statistics.median((a / b) ** power for a, b in zip(rates[ours], values, strict=True)),
        }
        for name, values in rates.items()
    ]


def table(entries: list[dict[str, Any]]) -> list[str]:
    """Lines of a Markdown table of the entries."""
    unit = entries[0]["unit"]
    lines = [f"| {entries[0]['bench']} | {unit} | low – high | ratio |", "|---|---|---|---|"]
    for e in entries:
        spread = f"{e['low']:,.0f} – {e['high']:,.0f}"
        lines.append(f"| {e['contender']} | {e['median']:,.0f} | {spread} | {_ratio(e['ratio'])} |")
    return lines


def _ratio(value: float) -> str:
    return f"{value:.1f} ×" if value >= 2 else f"{value:.2f} ×"


if __name__ == "__main__":
    import importlib

    module, function = sys.argv[1].split(":")
    duration_s = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    sys.stdout.write(f"\n{_RESULT}{duration_s}\n")
