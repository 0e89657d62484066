"""jobs.bench: figures on the terminal and in a file, and the selection of contenders."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.benchmarks.options import Options
from pipeline.benchmarks.scale import ROWS_PER_S
from pipeline.errors import SettingError
from pipeline.storage.location import locate
from pipeline.synth import write_dump
from tests.commands import RunJob
from tests.main_job import Outputs

Entry = dict[str, Any]


def printed_figures(stdout: str) -> dict[tuple[str, str], list[float]]:
    """Numbers in the rows of printed tables, by the first heading of the table and of the row."""
    figures: dict[tuple[str, str], list[float]] = {}
    bench = ""
    lines = stdout.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        name, *cells = [cell.strip() for cell in line.strip("|").split(" |")]
        if following.startswith("|---"):
            bench = name
        elif line.startswith("| "):
            numbers = re.findall(r"[\d,.]+", " ".join(cells))
            figures[bench, name] = [float(number.replace(",", "")) for number in numbers]
    return figures


def test_encode_runs_on_synthetic_reviews_and_on_a_given_dump(tmp_path: Path, run_job: RunJob) -> None:
    write_dump(locate(tmp_path / "dump"), rows=300, shards=1, seed=1)
    (dump,) = (tmp_path / "dump").iterdir()
    options = ("--rounds", 1, "--rows", 1000, "--input", dump, "--json", tmp_path / "out.json")
    start = time.monotonic()
    # The benchmark sets this variable in its own process.
    done = run_job("bench", "encode", *options, env={"TOKENIZERS_PARALLELISM": "false"})
    seconds = time.monotonic() - start
    assert done.code == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    assert set(record) == {"machine", "versions", "commit", "results"}
    data = {"1,000 synthetic reviews": 1000, dump.name: 300}
    expected = [(f"encode, {what}", who) for what in data for who in ("rayview", "encode_batch_fast")]
    assert [(e["bench"], e["contender"]) for e in record["results"]] == expected
    figures = printed_figures(done.stdout)
    assert list(figures) == expected
    for entry in record["results"]:
        median, low, high, ratio = figures[entry["bench"], entry["contender"]]
        shown = [entry[name] for name in ("median", "low", "high")]
        assert [median, low, high] == pytest.approx(shown, abs=0.5)
        assert ratio == pytest.approx(entry["ratio"], abs=0.05)
    # A few texts are empty and not encoded. The measured time is part of the job's wall time.
    rows = [rows for rows in data.values() for _ in range(2)]
    measured_s = sum(0.9 * n / e["median"] for n, e in zip(rows, record["results"], strict=True))
    assert measured_s < seconds


@pytest.mark.ray
def test_quality_compares_the_model_with_baselines_on_the_same_rows(
    outputs: Outputs, tmp_path: Path, run_job: RunJob
) -> None:
    done = run_job("bench", "quality", "--run", outputs.base, "--json", tmp_path / "out.json")
    assert done.code == 0, done.stderr
    entries: list[Entry] = json.loads((tmp_path / "out.json").read_text())["results"]
    metrics = json.loads((outputs.report / "metrics.json").read_text())
    ours = {e["unit"]: e["median"] for e in entries if e["contender"] == "rayview"}
    assert {name: ours[name] for name in ("accuracy", "macro_f1", "mae")} == {
        name: metrics[name] for name in ("accuracy", "macro_f1", "mae")
    }
    figures = printed_figures(done.stdout)
    assert [name for _, name in figures] == ["majority", "TF-IDF + logistic regression", "rayview"]
    for (_, contender), numbers in figures.items():
        values = [e["median"] for e in entries if e["contender"] == contender]
        assert numbers == pytest.approx(values, abs=5e-4)
    for entry in entries:
        other = entry["median"]
        better = other > ours["mae"] if entry["unit"] == "mae" else other < ours[entry["unit"]]
        assert (entry["ratio"] > 1) == better


def test_contenders_can_be_selected() -> None:
    calls: dict[str, Any] = {who: ("module:function", {}) for who in ("rayview", "Ray Data", "Daft: Ray")}
    for only, expected in ((None, list(calls)), ("Ray", list(calls)), ("Daft", ["rayview", "Daft: Ray"])):
        assert list(Options("", None, 3, only=only).select(calls)) == expected
    with pytest.raises(
        SettingError, match=r"^--only Dfat: matches no contender; contenders: Ray Data; Daft: Ray$"
    ):
        Options("", None, 3, only="Dfat").select(calls)


CONTENDERS = {
    "score": [
        "rayview, whole job",
        "its forward passes only",
        "transformers' forward passes only",
        "PyTorch loop",
        "transformers pipeline",
        "Ray Data",
        "rayview with one actor",
    ],
    "train": ["rayview", "transformers Trainer"],
    "start": ["jobs.score", "Ray", "the model only, in an actor", "the model only, in transf"],
    "scale": ["1 actor", "2 actors", "4 actors", "8 actors", "16 actors"],
}


@pytest.mark.slow
@pytest.mark.parametrize("bench", CONTENDERS)
def test_each_contender_runs(tmp_path: Path, bench: str) -> None:
    command = [sys.executable, "-m", "jobs.bench", bench, "--rounds", "1", "--rows", "1000"]
    done = subprocess.run([*command, "--json", str(tmp_path / "out.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    entries: list[Entry] = json.loads((tmp_path / "out.json").read_text())["results"]
    assert len(entries) == len(CONTENDERS[bench])
    printed = list(printed_figures(done.stdout).items())
    for entry, name, ((_, shown), numbers) in zip(entries, CONTENDERS[bench], printed, strict=True):
        assert entry["bench"].startswith(f"{bench}, ")
        assert entry["contender"].startswith(name)
        assert shown == entry["contender"]
        assert entry["unit"] == ("s" if bench == "start" else "rows/s")
        assert numbers[0] == pytest.approx(entry["median"], abs=0.5)
    if bench == "start":
        # The whole job includes the work of all other contenders.
        assert max(entries, key=lambda e: float(e["median"])) is entries[0]
    if bench == "scale":
        # The sleep limits the rate of each actor; empty texts do not reach the actors.
        for entry, actors in zip(entries, (1, 2, 4, 8, 16), strict=True):
            assert 0 < entry["median"] < 1.05 * actors * ROWS_PER_S
