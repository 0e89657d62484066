"""Scoring of CSV and JSON: the account of every line, and a resumed job that cuts files as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.details import ScoreDetails
from pipeline.errors import OutputError
from pipeline.ingest.recorded_formats import columns_of, dialects_of
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Manifest
from pipeline.score.stage import plan, score
from pipeline.score.verify import verify
from pipeline.settings import load_config
from pipeline.storage.location import locate
from tests.score.deadly import TokenPredictor

pytestmark = pytest.mark.ray

ROWS = 800
SETS = ("input.chunk_bytes=8192", "score.precision=float32", "score.num_actors=1")
SETS += ("input.text=text", "input.stars=stars")


def write(file: Path) -> None:
    lines = [f'{i},"good, number {i}",{i % 5 + 1}' for i in range(ROWS)]
    lines[10] = '10,"never closed,1'
    lines[20] = '20,"two\nlines",1'
    lines[30] = '30,"one","field too\nmany",1'
    header = "id,text,stars\n"
    file.write_text((header + "\n".join(lines) + "\n") * 2)


def run(
    file: Path, model: str, output: Path, cluster: Any, *, extend: bool = False
) -> Manifest[ScoreDetails]:
    files = [str(f) for f in sorted(file.parent.glob("*.*"))]
    job = plan(files, model, str(output), load_config(None, [*SETS]), extend=extend)
    return score(job, cluster, Reporter(), extend=extend, predictor=TokenPredictor)


def parts(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("part-*.parquet"))}


def test_resumed_and_extended_scores(untrained: str, cluster: Any, tmp_path: Path) -> None:
    file, out = tmp_path / "in" / "b.csv", tmp_path / "s"
    file.parent.mkdir()
    write(file)
    counts = run(file, untrained, out, cluster).counts
    assert counts is not None
    assert (counts.lines, counts.rows) == (2 * ROWS + 1, 2 * ROWS - 2)
    assert counts.rejected == {"bad_csv": 2, "repeated_header": 1}
    # Two records of two lines are rejected.
    assert (counts.physical_lines, counts.error_lines) == (file.read_text().count("\n"), 4)
    assert verify(locate(out)).faults == {}
    whole = parts(out)
    assert sum(pq.read_metadata(out / name).num_rows for name in whole) == counts.rows
    (out / "manifest.json").unlink()
    (out / sorted(whole)[1]).unlink()
    # A version that did not store the dialects may have cut the file into other records.
    recorded = (out / "run.json").read_text()
    data = json.loads(recorded)
    del data["resolved"]["dialects"]
    (out / "run.json").write_text(json.dumps(data))
    with pytest.raises(OutputError, match=r"begun by another version of rayview.*b\.csv.*use --overwrite"):
        run(file, untrained, out, cluster)
    (out / "run.json").write_text(recorded)
    run(file, untrained, out, cluster)
    assert parts(out) == whole
    # A new file is cut in its own dialect, which run.json has from then on.
    other = file.parent / "a.json"
    other.write_text(json.dumps({"data": {"reviews": [{"text": "fine", "stars": 5}] * 50}}))
    run(file, untrained, out, cluster, extend=True)
    stored = json.loads((out / "run.json").read_text())["resolved"]
    inputs = [str(file), str(other)]
    sources = plan(inputs, untrained, str(out), load_config(None, [*SETS]), extend=True).sources
    assert stored["dialects"] == dialects_of(sources)
    assert stored["columns"] == columns_of(sources)
    assert {Path(uri).name: d["syntax"] for uri, d in stored["dialects"].items()} == {
        "a.json": "elements",
        "b.csv": "csv",
    }
    assert verify(locate(out)).faults == {}
