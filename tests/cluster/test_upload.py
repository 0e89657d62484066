"""Files that `ray job submit --working-dir .` uploads, packed by Ray itself."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def upload(folder: Path, archive: Path) -> set[str]:
    """Names of the files that Ray packs from a working directory."""
    from ray._private import ray_constants
    from ray._private.runtime_env.packaging import _zip_files

    excludes = ray_constants.get_runtime_env_default_excludes()
    _zip_files(str(folder), excludes, str(archive), include_gitignore=True)
    with zipfile.ZipFile(archive) as packed:
        return {name for name in packed.namelist() if not name.endswith("/")}


def test_only_the_code_is_uploaded(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    needed = {
        "jobs/run.py",
        "jobs/configs/demo.toml",
        "pipeline/evaluate/report.html.jinja",
        "pyproject.toml",
    }
    excluded = {
        ".git/HEAD",
        ".venv/lib/python3.11/site-packages/torch/libtorch.so",
        ".mypy_cache/3.11/x.json",
        ".ci/run",
        "jobs/__pycache__/run.pyc",
        "tests/test_x.py",
        "cluster/launcher.yaml",
        "demo/out/scores/part.parquet",
        "out/model/model.safetensors",
        "dumps/reviews.json.gz",
        "docs/plot.png",
    }
    for name in needed | excluded:
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text("x", encoding="utf-8")
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, repo / name)
    assert upload(repo, tmp_path / "a.zip") == needed


def test_every_source_file_is_uploaded(tmp_path: Path) -> None:
    sources = {
        str(path.relative_to(ROOT))
        for folder in ("jobs", "pipeline")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix in {".py", ".toml", ".jinja", ".html", ".css"}
    }
    assert "jobs/run.py" in sources
    assert sources <= upload(ROOT, tmp_path / "a.zip")
    # Ray refuses more than 512 MiB, and large uploads slow every job start.
    assert (tmp_path / "a.zip").stat().st_size < 8 << 20
