"""Real review files, if available: every label scheme, and a truncated file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Recipe, keep_lines
from pipeline.ingest.detect.sources import detect_sources
from pipeline.ingest.parse.formats import Format
from pipeline.ingest.stream import ReadPlan, read_source
from pipeline.prepare import stage
from pipeline.progress import Reporter
from pipeline.rundir.manifest import Manifest
from pipeline.settings import load_config
from pipeline.storage.location import locate

pytestmark = pytest.mark.ray

FASHION = "AMAZON_FASHION_first15000.json.gz"


def prepare(cluster: Any, tmp_path: Path, file: Path, *sets: str, config: str | None = None) -> Manifest:
    job = stage.plan([str(file)], str(tmp_path / "data"), load_config(config, sets))
    return stage.prepare(job, cluster, Reporter())


@pytest.mark.parametrize(
    ("scheme", "by_label", "dropped"),
    [
        ("stars", {"1": 805, "2": 725, "3": 1236, "4": 2788, "5": 9446}, 0),
        ("sentiment", {"negative": 1530, "neutral": 1236, "positive": 12234}, 0),
        ("binary", {"negative": 1530, "positive": 12234}, 1236),
    ],
)
def test_label_schemes_on_the_fashion_file(
    shared_data: Path, scheme: str, by_label: dict[str, int], dropped: int
) -> None:
    config = load_config(None, [f"labels.scheme={scheme}"])
    recipe = Recipe.from_config(config, label_scheme(scheme, config.labels.words))
    (source,) = detect_sources([locate(shared_data / FASHION)], config.input)
    assert isinstance(source.fmt, Format)
    lines, found, rejected = 0, Counter[str](), Counter[str]()
    for chunk in read_source(source, ReadPlan(1 << 20)):
        kept = keep_lines(chunk, source.fmt, recipe)
        lines += chunk.header.lines
        found.update(list(by_label)[label] for label in kept.rows["label"].to_pylist())
        rejected.update(line.reason for line in kept.rejected)
    assert lines == 15_000 == found.total() + rejected.total()
    # 18 texts are empty; an empty text is rejected before its stars are examined.
    assert rejected["empty_text"] == 18
    assert abs(rejected["neutral_dropped"] - dropped) <= 18
    assert all(0 <= by_label[n] - found[n] <= 18 for n in by_label)


def test_seed_preset_uses_the_first_rows_as_its_test_set(
    cluster: Any, shared_data: Path, tmp_path: Path
) -> None:
    manifest = prepare(cluster, tmp_path, shared_data / FASHION, config="jobs/configs/seed.toml")
    assert manifest.counts is not None
    assert manifest.counts.lines == 15_000
    assert manifest.counts.splits["test"] == 1000
    tests = [
        pq.read_table(tmp_path / "data" / o.path) for o in manifest.outputs if o.path.startswith("test/")
    ]
    others = [pq.read_table(tmp_path / "data" / o.path) for o in manifest.outputs if o.path.startswith("t")]
    last = max(max(t["line"].to_pylist()) for t in tests)
    first = min(min(t["line"].to_pylist()) for t in others if t not in tests)
    assert last < first
    stars = [s for t in tests for s in t["stars"].to_pylist()]
    # Fraction of five-star reviews in the test rows of the original notebook.
    assert stars.count(5.0) / len(stars) == pytest.approx(0.5445, abs=0.001)


def test_truncated_file_is_read_to_its_end(cluster: Any, shared_data: Path, tmp_path: Path) -> None:
    manifest = prepare(
        cluster,
        tmp_path,
        shared_data / "reviews_Digital_Music_5.TRUNCATED.json.gz",
        "dedup.enabled=false",
    )
    assert manifest.counts is not None
    assert manifest.counts.lines == 6909
    assert manifest.counts.rejected == {"bad_json": 1}
    assert "gzip data end in the middle" in manifest.details.broken[0]
    by_label = manifest.details.rows_by_label
    found = [sum(split[str(i)] for split in by_label.values()) for i in range(1, 6)]
    assert found == [111, 161, 500, 1474, 4662]


def test_most_texts_of_a_five_core_file_are_duplicates(
    cluster: Any, shared_data: Path, tmp_path: Path
) -> None:
    file = shared_data / "AMAZON_FASHION_5.json.gz"
    manifest = prepare(cluster, tmp_path, file, "input.text=reviewText")
    assert manifest.counts is not None
    assert manifest.counts.lines == 3176
    # 438 distinct texts; fewer after normalization of case and whitespace.
    assert 430 <= manifest.counts.rows <= 438
    assert manifest.counts.rejected["duplicate"] == 3176 - 16 - manifest.counts.rows
    assert manifest.details.random_split_leak_frac > 0.9
