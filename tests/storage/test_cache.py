"""Local copies of directories: shared by processes, and never of an older content."""

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
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_a_copy_has_the_same_files_and_is_made_once(model: str, tmp_path: Path, query: str) -> None:
    copy = local_copy(locate(model + query))
    assert content(copy) == FILES
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
    assert local_copy(locate(model + query)) == copy
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == before
    assert copies(tmp_path) == [copy]


@pytest.mark.parametrize("name", FILES)
def test_a_directory_that_was_written_anew_is_copied_anew(
    store: Store, bucket: str, model: str, name: str
) -> None:
    first = local_copy(locate(model))
    # Of the same size, and within the second that is all that the store's times tell.
    changed = FILES[name][::-1][:-1] + b"!"
    store.put(bucket, f"model/{name}", changed)
    second = local_copy(locate(model))
    assert content(second) == FILES | {name: changed}
    assert content(first) == FILES
    store.put(bucket, f"model/{name}", FILES[name])
    assert content(local_copy(locate(model))) == FILES


def test_a_file_that_is_gone_or_new_makes_another_copy(store: Store, bucket: str, model: str) -> None:
    local_copy(locate(model))
    store.put(bucket, "model/extra.json", b"e")
    assert content(local_copy(locate(model))) == FILES | {"extra.json": b"e"}
    for name in ("extra.json", "config.json"):
        store.client.delete_object(Bucket=bucket, Key=f"model/{name}")
    assert content(local_copy(locate(model))) == {n: d for n, d in FILES.items() if n != "config.json"}


def copy_in_process(uri: str) -> tuple[str, dict[str, bytes]]:
    copy = local_copy(locate(uri))
    return str(copy), content(copy)


def test_processes_that_copy_at_once_share_one_copy(model: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        found = list(pool.map(copy_in_process, [model] * 8))
    assert all(files == FILES for _, files in found)
    assert len({path for path, _ in found}) == 1
    assert len(copies(tmp_path)) == 1


def test_two_that_download_at_once(
    store: Store, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin before either ends: the second finds the place taken."""
    meet = threading.Barrier(2, timeout=20)
    with faulty(store.url) as (url, proxy):

        def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
            if method == "GET" and path.endswith("/model.safetensors"):
                meet.wait()
            return None

        proxy.rule = rule
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        objectstore.connect.cache_clear()
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(copy_in_process, [model] * 2))
    assert found[0] == found[1]
    assert found[0][1] == FILES
    assert [str(p) for p in copies(tmp_path)] == [found[0][0]]


def test_a_download_that_fails_is_no_copy(
    store: Store, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        objectstore.connect.cache_clear()

        def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
            bad = method == "GET" and path.endswith("/tokenizer.json")
            return s3_error(403, "AccessDenied") if bad else None

        proxy.rule = rule
        with pytest.raises(InputError, match=r"tokenizer\.json: cannot be read: access denied"):
            local_copy(locate(model))
        assert copies(tmp_path) == []
        proxy.rule = lambda method, path, headers: None
        assert content(local_copy(locate(model))) == FILES


def test_a_copy_that_lost_files_is_not_used(model: str) -> None:
    copy = local_copy(locate(model))
    (copy / "config.json").unlink()
    assert content(local_copy(locate(model))) == FILES
    shutil.rmtree(copy)
    assert local_copy(locate(model)) == copy
    assert content(copy) == FILES


def test_an_empty_directory_is_no_model(bucket: str) -> None:
    with pytest.raises(InputError, match="/none: no such directory, or it is empty"):
        local_copy(locate(f"s3://{bucket}/none"))


def test_nobody_else_can_leave_a_model_there(model: str, tmp_path: Path) -> None:
    folder = local_copy(locate(model)).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    if os.getuid() == 0:
        os.chown(folder, 12345, 12345)
        with pytest.raises(InputError, match="belongs to another user"):
            local_copy(locate(model))
