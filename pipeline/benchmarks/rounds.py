"""Several contenders on the same data, in turn, so that what else the machine does falls on all of them."""

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

_OWN_ENVIRONMENTS = {"pipeline.benchmarks.peer_daft": "daft"}
"""For a contender whose packages do not go with ours: `make NAME` makes the environment .venv-NAME."""

_RESULT = "took_s="
"""What the line of a contender's output begins with that has its result."""


def run_rounds(
    calls: Mapping[str, tuple[str, dict[str, Any]]],
    rounds: int,
    say: Callable[[str], None],
    may_fail: Collection[str] = (),
) -> dict[str, list[float]]:
    """Run each contender once a round, each time in a process of its own.

    Args:
        calls: by contender, `module:function` and its arguments (plain data). The function returns what it
            took in seconds, without the start of its process or of Ray, unless that is what is measured.
        may_fail: contenders that are left out when they fail, as on a real dump that they cannot read.
    Raises:
        RayviewError: another contender failed; the last error that it names is shown.
    """
    seconds: dict[str, list[float]] = {}
    for name, (target, _) in calls.items():
        own = _own_environment(target)
        if own is None or Path(_ROOT, f".venv-{own}", ".ready").exists():
            seconds[name] = []
        else:
            say(f"left out: {name}: make {own} installs it")
    for number in range(rounds):
        for name in list(seconds):
            try:
                seconds[name].append(_run(name, *calls[name]))
            except RayviewError as error:
                if name not in may_fail:
                    raise
                say(f"left out: {error}")
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
    # Ray may have its say at any time.
    return next(float(line[len(_RESULT) :]) for line in done.stdout.splitlines() if line.startswith(_RESULT))


def _own_environment(target: str) -> str | None:
    return _OWN_ENVIRONMENTS.get(target.partition(":")[0])


def _python(target: str) -> str:
    own = _own_environment(target)
    return str(_ROOT / f".venv-{own}" / "bin" / "python") if own else sys.executable


def _reason(stderr: str) -> str:
    """The last error that a process names, but for what Ray wraps it in; else its last line."""
    errors = re.findall(r"^(?!ray\.)[\w.]*(?:Error|Exception)\b.*$", stderr, re.MULTILINE)
    return str([*(stderr.strip().splitlines()[-1:] or ["no message"]), *errors][-1])


def results(bench: str, unit: str, rates: Mapping[str, list[float]], ours: str) -> list[dict[str, Any]]:
    """Entries for `jobs.bench --json`.

    Args:
        rates: by contender, one a round; more is better, unless the unit is seconds.
        ours: the contender that the others are compared with.
    Returns:
        Median, low and high of each, and the median of ours over its own, round by round.
    """
    return [
        {
            "bench": bench,
            "contender": name,
            "unit": unit,
            "median": statistics.median(values),
            "low": min(values),
            "high": max(values),
            "ratio": statistics.median(a / b for a, b in zip(rates[ours], values, strict=True)),
        }
        for name, values in rates.items()
    ]


def table(entries: list[dict[str, Any]]) -> list[str]:
    """The entries as lines of a Markdown table."""
    unit = entries[0]["unit"]
    lines = [f"| {entries[0]['bench']} | {unit} | low – high | ours over it |", "|---|---|---|---|"]
    for e in entries:
        spread = f"{e['low']:,.0f} – {e['high']:,.0f}"
        lines.append(f"| {e['contender']} | {e['median']:,.0f} | {spread} | {_ratio(e['ratio'])} |")
    return lines


def _ratio(value: float) -> str:
    return f"{value:.1f} ×" if value >= 2 else f"{value:.2f} ×"


if __name__ == "__main__":
    import importlib

    module, function = sys.argv[1].split(":")
    took = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    sys.stdout.write(f"\n{_RESULT}{took}\n")
