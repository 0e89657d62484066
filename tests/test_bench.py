"""Benchmarks: their figures as others read them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pipeline.storage import locate
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
