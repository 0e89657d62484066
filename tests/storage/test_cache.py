"""Local copies of directories: shared by processes, never stale."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.storage import objectstore
from pipeline.storage.cache import local_copy
from pipeline.storage.location import locate
from tests.s3server import Fault, Store, faulty, s3_error

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 100_000, "sub/tokenizer.json": b"t" * 1000}


@pytest.fixture(autouse=True)
def private_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def model(store: Store, bucket: str) -> Iterator[str]:
    for name, data in FILES.items():
        store.put(bucket, f"model/{name}", data)
    return f"s3://{bucket}/model"


def content(copy: Path) -> dict[str, bytes]:
    return {p.relative_to(copy).as_posix(): p.read_bytes() for p in copy.rglob("*") if p.is_file()}


def copies(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("rayview-models-*/*"))


@pytest.mark.parametrize("query", ["", "?region=us-east-1"])
def test_directory_is_downloaded_once(model: str, tmp_path: Path, query: str) -> None:
    copy = local_copy(locate(model + query))
    assert content(copy) == FILES
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    assert local_copy(locate(model + query)) == copy
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before
    assert copies(tmp_path) == [copy]


@pytest.mark.parametrize("name", FILES)
def test_changed_directory_is_downloaded_again(store: Store, bucket: str, model: str, name: str) -> None:
    first = local_copy(locate(model))
    # Same size, and within one second, the resolution of the store's modification times.
    changed = FILES[name][::-1][:-1] + b"!"
    store.put(bucket, f"model/{name}", changed)
    second = local_copy(locate(model))
    assert content(second) == FILES | {name: changed}
    assert content(first) == FILES
    store.put(bucket, f"model/{name}", FILES[name])
    assert content(local_copy(locate(model))) == FILES


def test_added_or_removed_file_causes_a_new_download(store: Store, bucket: str, model: str) -> None:
    local_copy(locate(model))
    store.put(bucket, "model/extra.json", b"e")
    assert content(local_copy(locate(model))) == FILES | {"extra.json": b"e"}
    for name in ("extra.json", "config.json"):
        store.client.delete_object(Bucket=bucket, Key=f"model/{name}")
    assert content(local_copy(locate(model))) == {n: d for n, d in FILES.items() if n != "config.json"}


def copy_in_process(uri: str) -> tuple[str, dict[str, bytes]]:
    copy = local_copy(locate(uri))
    return str(copy), content(copy)


def test_concurrent_processes_share_one_copy(model: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        results = list(pool.map(copy_in_process, [model] * 8))
    assert all(files == FILES for _, files in results)
    assert len({path for path, _ in results}) == 1
    assert len(copies(tmp_path)) == 1


def test_two_simultaneous_downloads(
    store: Store, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both start before either ends: the second finds the target already present."""
    barrier = threading.Barrier(2, timeout=20)
    with faulty(store.url) as (url, proxy):

        def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
            if method == "GET" and path.endswith("/model.safetensors"):
                barrier.wait()
            return None

        proxy.rule = rule
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        objectstore.connect.cache_clear()
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(copy_in_process, [model] * 2))
    assert results[0] == results[1]
    assert results[0][1] == FILES
    assert [str(p) for p in copies(tmp_path)] == [results[0][0]]


def test_failed_download_leaves_no_copy(
    store: Store, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        objectstore.connect.cache_clear()

        def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
            denied = method == "GET" and path.endswith("/tokenizer.json")
            return s3_error(403, "AccessDenied") if denied else None

        proxy.rule = rule
        with pytest.raises(InputError, match=r"tokenizer\.json: cannot be read: access denied"):
            local_copy(locate(model))
        assert copies(tmp_path) == []
        proxy.rule = lambda method, path, headers: None
        assert content(local_copy(locate(model))) == FILES


def test_incomplete_copy_is_not_used(model: str) -> None:
    copy = local_copy(locate(model))
    (copy / "config.json").unlink()
    assert content(local_copy(locate(model))) == FILES
    shutil.rmtree(copy)
    assert local_copy(locate(model)) == copy
    assert content(copy) == FILES


def test_empty_directory_is_refused(bucket: str) -> None:
    with pytest.raises(InputError, match="/none: no such directory, or it is empty"):
        local_copy(locate(f"s3://{bucket}/none"))


def test_cache_directory_is_private(model: str) -> None:
    folder = local_copy(locate(model)).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    if os.getuid() == 0:
        os.chown(folder, 12345, 12345)
        with pytest.raises(InputError, match="owned by another user"):
            local_copy(locate(model))
