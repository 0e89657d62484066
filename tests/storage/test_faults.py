"""A failed read is never mistaken for the end of a file; a failed upload leaves no partial file."""

from __future__ import annotations

import bz2
import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import InputError, OutputError
from pipeline.ingest.read.chunks import Cutting, read_chunks
from pipeline.storage import objectstore
from pipeline.storage.location import Location, locate
from pipeline.storage.objectstore import Patience, upload
from tests.s3server import Fault, Proxy, Store, faulty, s3_error

MIB = 1 << 20


@pytest.fixture
def proxy(store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy between this process and the store; clients retry less often than by default."""
    monkeypatch.setattr(objectstore, "PATIENCE", Patience(lookup_attempts=1, work_attempts=2))
    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield proxy


FAULTS = {
    "error": s3_error(500, "InternalError"),
    "denied": s3_error(403, "AccessDenied"),
    "no response": Fault(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("before", [None, b"old"])
def test_failed_small_upload_keeps_the_old_file(
    store: Store, bucket: str, proxy: Proxy, fault: Fault, before: bytes | None
) -> None:
    if before:
        store.put(bucket, "d/a", before)
    proxy.rule = lambda method, path, headers: fault if method in ("PUT", "POST") else None
    with pytest.raises(OutputError, match=f"s3://{bucket}/d/a: cannot be written: "):
        locate(f"s3://{bucket}/d/a").write_bytes(b"new content")
    assert store.keys(bucket) == (["d/a"] if before else [])
    if before:
        assert store.get(bucket, "d/a") == before


def in_part(number: int, fault: Fault) -> Callable[[str, str, dict[str, str]], Fault | None]:
    return lambda method, path, headers: fault if f"partNumber={number}&" in path else None


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("part", [1, 3])
def test_failed_multipart_upload_keeps_the_old_file(
    store: Store, bucket: str, proxy: Proxy, fault: Fault, part: int
) -> None:
    store.put(bucket, "d/a", b"old")
    proxy.rule = in_part(part, fault)
    with pytest.raises(OutputError, match="cannot be written: "):
        locate(f"s3://{bucket}/d/a").write_bytes(os.urandom(21 * MIB))
    assert any(f"partNumber={part}&" in request for request in proxy.requests)
    assert store.keys(bucket) == ["d/a"]
    assert store.get(bucket, "d/a") == b"old"


def test_multipart_upload_stores_all_bytes(store: Store, bucket: str, proxy: Proxy) -> None:
    data = os.urandom(21 * MIB)
    locate(f"s3://{bucket}/d/a").write_bytes(data)
    assert store.get(bucket, "d/a") == data


def test_small_upload_is_one_request(bucket: str, proxy: Proxy) -> None:
    locate(f"s3://{bucket}/d/a").write_bytes(b"x" * MIB)
    assert [r.partition("?")[0] for r in proxy.requests] == [f"PUT /{bucket}/d/a"]


@pytest.mark.parametrize("size", [0, 3, 21 * MIB])
def test_upload_is_aborted_if_the_writer_raises(store: Store, bucket: str, size: int) -> None:
    file = locate(f"s3://{bucket}/d/a")

    def write() -> None:
        with upload(file.filesystem, file.path) as stream:
            stream.write(b"x" * size)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert store.keys(bucket) == []


@pytest.mark.parametrize("size", [3, 21 * MIB])
def test_process_exit_does_not_complete_an_aborted_upload(store: Store, bucket: str, size: int) -> None:
    code = (
        "import sys\n"
        "from pipeline.storage.location import locate\n"
        "from pipeline.storage.objectstore import Patience, upload\n"
        "file = locate(sys.argv[1])\n"
        "with upload(file.filesystem, file.path) as stream:\n"
        "    stream.write(b'x' * int(sys.argv[2]))\n"
        "    raise SystemExit(7)\n"
    )
    command = [sys.executable, "-c", code, f"s3://{bucket}/d/a", str(size)]
    done = subprocess.run(command, env=os.environ | store.env, timeout=60, check=False)
    assert done.returncode == 7
    assert store.keys(bucket) == []


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data))


CODECS = {"plain": bytes, "gzip": gzip.compress, "bz2": bz2.compress, "zstd": zstd}


COUNT = 26_000


@cache
def lines(count: int) -> bytes:
    """Lines of 121 bytes, random hexadecimal digits, which compress to about half their size."""
    return b"".join(os.urandom(60).hex().encode() + b"\n" for _ in range(count))


@cache
def compressed(codec: str, count: int = COUNT) -> bytes:
    return CODECS[codec](lines(count))


def after(position: int, fault: Fault) -> Callable[[str, str, dict[str, str]], Fault | None]:
    """A rule that makes every read beyond a position fail."""

    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        last = headers.get("range", "0").rpartition("-")[2]
        return fault if method == "GET" and int(last) >= position else None

    return rule


def read(file: Location) -> list[bytes]:
    return [chunk.raw for chunk in read_chunks(file, 0, Cutting(100_000))]


@pytest.mark.parametrize("codec", CODECS)
def test_whole_file_is_read(store: Store, bucket: str, proxy: Proxy, codec: str) -> None:
    text = lines(COUNT)
    store.put(bucket, "a", compressed(codec))
    chunks = list(read_chunks(locate(f"s3://{bucket}/a"), 0, Cutting(100_000)))
    assert b"".join(c.raw for c in chunks) == text
    assert chunks[-1].header.last
    assert chunks[-1].header.broken is None


READ_FAULTS = FAULTS | {"partial response": Fault(cut_after=1000)}


@pytest.mark.parametrize(
    ("codec", "fault"),
    [
        *(("plain", fault) for fault in READ_FAULTS.values()),
        *((codec, READ_FAULTS["partial response"]) for codec in CODECS if codec != "plain"),
    ],
)
def test_failed_read_within_a_file_raises(
    store: Store, bucket: str, proxy: Proxy, codec: str, fault: Fault
) -> None:
    data = compressed(codec)
    store.put(bucket, "a", data)
    proxy.rule = after(len(data) // 2, fault)
    with pytest.raises(InputError, match=rf"s3://{bucket}/a: (reading failed near byte \d+: |changed)"):
        read(locate(f"s3://{bucket}/a"))


@pytest.mark.parametrize("codec", CODECS)
def test_failed_read_is_retried(store: Store, bucket: str, proxy: Proxy, codec: str) -> None:
    text = lines(COUNT)
    store.put(bucket, "a", compressed(codec))
    failed: list[str] = []

    def rule(method: str, path: str, headers: dict[str, str]) -> Fault | None:
        if method != "GET" or headers["range"] in failed:
            return None
        failed.append(headers["range"])
        return s3_error(503, "SlowDown", "x" * 500)

    proxy.rule = rule
    assert b"".join(read(locate(f"s3://{bucket}/a"))) == text
    assert failed


@pytest.mark.parametrize("shorter", [True, False])
@pytest.mark.parametrize("codec", CODECS)
def test_replaced_file_is_detected(store: Store, bucket: str, codec: str, shorter: bool) -> None:
    data = compressed(codec, 60_000)
    store.put(bucket, "a", data)
    chunks = read_chunks(locate(f"s3://{bucket}/a"), 0, Cutting(100_000))
    next(chunks)
    store.put(bucket, "a", data[: len(data) // 2] if shorter else data[::-1])
    with pytest.raises(InputError, match=f"s3://{bucket}/a: changed while it was being read"):
        list(chunks)


def test_truncated_local_file_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(lines(COUNT))
    chunks = read_chunks(locate(file), 0, Cutting(100_000))
    next(chunks)
    os.truncate(file, 1_500_000)
    with pytest.raises(InputError, match="changed while it was being read"):
        list(chunks)
