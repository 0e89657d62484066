"""Benchmarks: their figures as others read them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.benchmarks.suite import Options
from pipeline.errors import SettingError
from pipeline.storage.location import locate
from pipeline.synth import write_dump


def test_encode_compares_on_synthetic_reviews_and_on_a_given_dump(tmp_path: Path) -> None:
    write_dump(locate(tmp_path / "dump"), rows=300, shards=1, seed=1)
    (dump,) = (tmp_path / "dump").iterdir()
    command = [sys.executable, "-m", "jobs.bench", "encode", "--rounds", "1", "--rows", "1000"]
    command += ["--input", str(dump)]
    done = subprocess.run([*command, "--json", str(tmp_path / "out.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out.json").read_text())
    assert set(record) == {"machine", "versions", "commit", "results"}
    data = ["1,000 synthetic reviews", dump.name]
    expected = [(f"encode, {what}", who) for what in data for who in ("rayview", "encode_batch_fast")]
    assert [(r["bench"], r["contender"]) for r in record["results"]] == expected
    for ours, theirs in zip(record["results"][::2], record["results"][1::2], strict=True):
        assert ours["ratio"] == 1
        assert theirs["ratio"] == ours["median"] / theirs["median"]
        assert 0 < theirs["low"] <= theirs["median"] <= theirs["high"]
    assert all(text in done.stdout for entry in expected for text in entry)


def test_some_of_the_contenders_may_be_asked_for() -> None:
    calls: dict[str, Any] = {who: ("module:function", {}) for who in ("rayview", "Ray Data", "Daft: Ray")}
    for only, expected in ((None, list(calls)), ("Ray", list(calls)), ("Daft", ["rayview", "Daft: Ray"])):
        assert list(Options("", None, 3, only=only).chosen(calls)) == expected
    with pytest.raises(
        SettingError, match=r"^--only Dfat: no contender has that in its name: Ray Data; Daft: Ray$"
    ):
        Options("", None, 3, only="Dfat").chosen(calls)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bench", "contenders"),
    [
        (
            "score",
            [
                "rayview, whole job",
                "its forward passes alone",
                "transformers' forward passes alone",
                "PyTorch loop",
                "transformers pipeline",
                "Ray Data",
            ],
        ),
        ("train", ["rayview", "transformers Trainer"]),
        ("start", ["jobs.score", "Ray", "the model alone, in an actor", "the model alone, in transf"]),
        ("scale", ["1 actor", "2 actors", "4 actors", "8 actors", "16 actors"]),
    ],
)
def test_each_contender_runs(tmp_path: Path, bench: str, contenders: list[str]) -> None:
    command = [sys.executable, "-m", "jobs.bench", bench, "--rounds", "1", "--rows", "1000"]
    done = subprocess.run([*command, "--json", str(tmp_path / "out.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert len(results) == len(contenders)
    for entry, name in zip(results, contenders, strict=True):
        assert entry["bench"].startswith(f"{bench}, ")
        assert entry["contender"].startswith(name)
        assert entry["unit"] == ("s" if bench == "start" else "rows/s")
        assert 0 < entry["low"] <= entry["median"] <= entry["high"]
        assert entry["ratio"] > 0
