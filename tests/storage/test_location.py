"""Input expansion and atomic writes, on local paths and on object stores."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs as pafs

from pipeline.errors import InputError, OutputError
from pipeline.storage.cache import local_copy
from pipeline.storage.expand import expand_inputs
from pipeline.storage.localwrite import RETRY_DELAYS_S
from pipeline.storage.location import Location, check_writable, fingerprint, locate
from pipeline.storage.objectstore import TEMPORARY_MARK
from tests.s3server import Store


def files(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)


def names(folder: Path, *inputs: str) -> list[str]:
    """Inputs below a folder, expanded, as paths relative to it."""
    return [f.uri.removeprefix(f"{folder}/") for f in expand_inputs(f"{folder}/{i}" for i in inputs)]


def below_a_file(folder: Path) -> Path:
    """A path that no user can write to, including root."""
    (folder / "file").write_text("in the way")
    return folder / "file" / "out"


def non_local(folder: Path) -> Location:
    """A location that counts as non-local: the files of a folder under a mem:// URI."""
    filesystem = pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem())
    return Location(filesystem, "bucket", "mem://bucket")


def test_file_directory_and_glob_are_expanded(tmp_path: Path) -> None:
    files(tmp_path, "b.json.gz", "a.jsonl", "deep/er/c.json.zst", "x.json")
    assert names(tmp_path, "x.json") == ["x.json"]
    assert names(tmp_path, "") == ["a.jsonl", "b.json.gz", "deep/er/c.json.zst", "x.json"]
    assert names(tmp_path, "*.json*") == ["a.jsonl", "b.json.gz", "x.json"]


def test_inputs_keep_their_order_without_duplicates(tmp_path: Path) -> None:
    files(tmp_path, "a.json", "b.json", "d/c.json")
    assert names(tmp_path, "d", "b.json", "*.json", "b.json", "./d/../d/c.json") == [
        "d/c.json",
        "b.json",
        "a.json",
    ]


def test_directory_expands_to_its_dumps(tmp_path: Path) -> None:
    dumps = ("a.json", "b.jsonl", "c.ndjson", "d.csv", "e.tsv", "f.parquet", "g.json.gz", "h.JSON.GZ")
    not_dumps = (
        "README.md",
        "manifest.json.bak",
        "a.json.tmp",
        ".hidden.json",
        "_part.json",
        ".git/a.json",
        "x",
    )
    files(tmp_path, *dumps, *not_dumps)
    assert sorted(names(tmp_path, "")) == sorted(dumps)


def test_hidden_or_unknown_file_is_read_if_named(tmp_path: Path) -> None:
    files(tmp_path, ".hidden.json", "reviews.txt")
    assert names(tmp_path, ".hidden.json", "reviews.txt") == [".hidden.json", "reviews.txt"]


def test_directory_below_a_hidden_one_is_expanded(tmp_path: Path) -> None:
    files(tmp_path, ".cache/dump/a.json")
    assert names(tmp_path, ".cache/dump") == [".cache/dump/a.json"]
    assert names(tmp_path, ".cache/dump/*.json") == [".cache/dump/a.json"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.json", ["a.json", "b.json"]),
        ("?.json", ["a.json", "b.json"]),
        ("[bc].json", ["b.json"]),
        ("[!b].json", ["a.json"]),
        ("*/*.json", ["d/a.json", "dx/a.json"]),
        ("d*/a.json", ["d/a.json", "dx/a.json"]),
        ("**/a.json", ["a.json", "d/a.json", "d/e/a.json", "dx/a.json"]),
        ("d/**/a.json", ["d/a.json", "d/e/a.json"]),
        ("d/**", ["d/a.json", "d/e/a.json"]),
        (".*.json", [".h.json"]),
    ],
)
def test_globs_follow_shell_rules(tmp_path: Path, pattern: str, found: list[str]) -> None:
    files(tmp_path, "a.json", "b.json", ".h.json", "d/a.json", "d/e/a.json", "d/.h/a.json", "dx/a.json")
    assert sorted(names(tmp_path, pattern)) == found


def test_existing_file_name_with_brackets_is_not_a_glob(tmp_path: Path) -> None:
    files(tmp_path, "a[1].json", "a1.json")
    assert names(tmp_path, "a[1].json") == ["a[1].json"]


def test_files_in_an_output_are_excluded(tmp_path: Path) -> None:
    files(tmp_path, "a.json", "out/b.json", "out/deep/c.json", "out2/d.json")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    outputs = [locate(tmp_path / "link"), locate(tmp_path / "none")]
    for text in ("", "**/*.json"):
        found = [f.uri for f in expand_inputs([f"{tmp_path}/{text}"], outputs)]
        assert found == [f"{tmp_path}/a.json", f"{tmp_path}/out2/d.json"]
    # Inputs inside an output still expand; the stage refuses them.
    for text in ("out", "out/*.json", "out/b.json"):
        assert f"{tmp_path}/out/b.json" in [f.uri for f in expand_inputs([f"{tmp_path}/{text}"], outputs)]
    (tmp_path / "a.json").unlink()
    (tmp_path / "out2" / "d.json").unlink()
    with pytest.raises(InputError, match=r"no dump in this directory .*, except inside --output$"):
        expand_inputs([str(tmp_path)], outputs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no.json", "no such file or directory"),
        ("*.csv", "no file matches this pattern"),
        ("empty", "no dump in this directory"),
        ("a.json/x.json", "no such file or directory"),
        ("a.json/*.json", "cannot be listed: "),
    ],
)
def test_missing_input_is_refused(tmp_path: Path, text: str, words: str) -> None:
    files(tmp_path, "a.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=words) as raised:
        expand_inputs([f"{tmp_path}/{text}"])
    assert str(tmp_path) in str(raised.value)


def test_non_utf8_name_is_refused_only_if_it_matches(tmp_path: Path) -> None:
    note, folder = os.fsdecode(b"caf\xe9.txt"), os.fsdecode(b"d\xe9")
    files(tmp_path, "a.json")
    (tmp_path / folder).mkdir()
    for odd in (tmp_path / note, tmp_path / folder / "notes.txt"):
        odd.write_text("x")
    assert names(tmp_path, "") == names(tmp_path, "*.json") == names(tmp_path, "**/a.json") == ["a.json"]
    assert len(locate(tmp_path).list_files()) == 3
    for matching in ("caf*", note, "*/notes.txt", f"{folder}/*"):
        with pytest.raises(InputError, match=r"\?\S*: the file name is not valid UTF-8; rename the file$"):
            names(tmp_path, matching)
    (tmp_path / folder / "a.json").write_text("x")
    with pytest.raises(InputError, match=r"d\?/a.json: the file name is not valid UTF-8"):
        names(tmp_path, "")
    with pytest.raises(InputError, match="cannot be read"):
        locate(tmp_path / note).read_bytes()


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match="ftp://host/a: cannot be opened"):
        locate("ftp://host/a")


def test_local_paths_are_normalized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = locate("a/../b/")
    assert (here.path, here.uri, here.is_local, here.name) == (f"{tmp_path}/b", f"{tmp_path}/b", True, "b")
    assert locate(f"file://{tmp_path}/b") == here
    assert locate(Path("b")) == here
    assert here.child("c/d").path == f"{tmp_path}/b/c/d"
    assert here.child("c").parent == here
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/b") == here


def test_listing_omits_temporary_files(tmp_path: Path) -> None:
    files(tmp_path, "b/c.json", "a.json", f"b/{TEMPORARY_MARK}123-c.json")
    assert [f.path for f in locate(tmp_path).list_files()] == [f"{tmp_path}/a.json", f"{tmp_path}/b/c.json"]
    assert [f.name for f in locate(tmp_path).list_files(recursive=False)] == ["a.json"]
    assert locate(tmp_path / "none").list_files() == []


def test_reading_a_missing_file_or_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/none: cannot be read"):
        locate(tmp_path / "none").read_bytes()
    with pytest.raises(InputError, match="cannot be read"):
        locate(tmp_path).read_bytes()


@pytest.mark.parametrize("make", [locate, non_local])
def test_write_read_list_delete(tmp_path: Path, make: Any) -> None:
    (tmp_path / "bucket" / "d").mkdir(parents=True)
    root = make(tmp_path / "bucket") if make is locate else make(tmp_path)
    root.child("d/a").write_bytes(b"one")
    root.child("d/a").write_bytes(memoryview(b"two"))
    root.child("b").write_bytes(b"")
    assert root.child("d/a").read_bytes() == b"two"
    assert root.child("b").info().size == 0
    assert [f.uri.removeprefix(root.uri) for f in root.list_files()] == ["/b", "/d/a"]
    root.child("d").delete_tree()
    root.child("d").delete_tree()
    root.child("b").delete_tree()
    assert not root.child("d").exists()
    # delete_tree ignores files.
    assert root.child("b").exists()


class FailingFile:
    """A file on a disk with three free bytes."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        self._file.write(bytes(data)[:3])
        self._file.flush()
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("before", [None, b"old content"])
def test_failed_write_keeps_the_old_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    file = locate(tmp_path / "a")
    if before is not None:
        file.write_bytes(before)
    with monkeypatch.context() as patch:
        plain = Path.open
        patch.setattr(Path, "open", lambda self, *a, **k: FailingFile(plain(self, *a, **k)))
        with pytest.raises(OutputError, match=r"/a: cannot be written: No space left on device$"):
            file.write_bytes(b"new content")
    assert [p.name for p in tmp_path.iterdir()] == ([] if before is None else ["a"])
    if before is not None:
        assert file.read_bytes() == before


@pytest.mark.parametrize(("failures", "written"), [(1, True), (7, True), (8, False)])
def test_write_with_retry_retries_for_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, written: bool
) -> None:
    open_file, opened, delays = Path.open, [0], list[float]()

    def temporarily_full(self: Path, *arguments: Any, **options: Any) -> Any:
        opened[0] += 1
        file = open_file(self, *arguments, **options)
        return FailingFile(file) if opened[0] <= failures else file

    file = locate(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", delays.append)
        patch.setattr(Path, "open", temporarily_full)
        if written:
            file.write_bytes(b"content", retry=True)
        else:
            with pytest.raises(OutputError, match=r"/a: cannot be written: No space left on device$"):
                file.write_bytes(b"content", retry=True)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([b"content"] if written else [])
    # Exponential backoff with a jitter of 50%.
    assert len(delays) == min(failures, 7)
    jitters = [delay / base for delay, base in zip(delays, RETRY_DELAYS_S, strict=False)]
    assert all(0.5 <= jitter <= 1.5 for jitter in jitters)
    assert len(set(jitters)) == len(jitters)


def test_write_interrupted_before_the_rename_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        locate(tmp_path / "a").write_bytes(b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_unwritable_directory_is_refused(tmp_path: Path) -> None:
    out = below_a_file(tmp_path)
    with pytest.raises(OutputError, match=f"{out}: cannot be written to: .*; choose another --output"):
        check_writable(locate(out))
    with pytest.raises(OutputError, match=f"{out}/a: cannot be written: "):
        locate(out).child("a").write_bytes(b"x")


def test_check_writable_creates_an_empty_directory(tmp_path: Path) -> None:
    check_writable(locate(tmp_path / "new" / "deep"))
    assert list((tmp_path / "new" / "deep").iterdir()) == []


MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 5 * MIB])
def test_fingerprint_depends_on_content_and_size(tmp_path: Path, size: int) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * size)
    first = fingerprint(locate(file))
    assert first == fingerprint(locate(file))
    fingerprints = {first}
    file.write_bytes(b"x" * (size + 1))
    fingerprints.add(fingerprint(locate(file)))
    positions = {0, size // 2, size - 1} if size else set()
    for position in positions:
        content = bytearray(b"x" * size)
        content[position] = ord("y")
        file.write_bytes(content)
        fingerprints.add(fingerprint(locate(file)))
    assert len(fingerprints) == 2 + len(positions)


def test_fingerprint_does_not_depend_on_the_name(tmp_path: Path) -> None:
    files(tmp_path, "a")
    (tmp_path / "b").write_text("a")
    assert fingerprint(locate(tmp_path / "a")) == fingerprint(locate(tmp_path / "b"))


def test_uploaded_tree_is_copied_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    files(tmp_path / "model", "config.json", "best/w.bin")
    (tmp_path / "bucket" / "best").mkdir(parents=True)
    remote = non_local(tmp_path)
    remote.upload_tree(tmp_path / "model")
    for content in ("config.json", "changed"):
        remote.child("config.json").write_bytes(content.encode())
        copy = local_copy(remote)
        assert (copy / "config.json").read_text() == content
        assert (copy / "best" / "w.bin").read_text() == "best/w.bin"
    assert local_copy(locate(tmp_path / "model")) == tmp_path / "model"


def test_write_read_list_delete_on_s3(store: Store, bucket: str) -> None:
    root = locate(f"s3://{bucket}/some/dir")
    assert not root.exists()
    assert root.list_files() == []
    root.child("d/a").write_bytes(b"one")
    root.child("d/a").write_bytes(memoryview(b"two"))
    root.child("b").write_bytes(b"")
    assert root.child("d/a").read_bytes() == b"two" == store.get(bucket, "some/dir/d/a")
    assert [f.uri for f in root.list_files()] == [
        f"s3://{bucket}/some/dir/b",
        f"s3://{bucket}/some/dir/d/a",
    ]
    assert [f.name for f in root.list_files(recursive=False)] == ["b"]
    root.child("d").delete_tree()
    root.child("d").delete_tree()
    assert not root.child("d").exists()
    assert root.child("b").info().size == 0
