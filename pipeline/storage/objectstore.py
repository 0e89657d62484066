"""What object stores need beyond pyarrow: clients that give up in time, uploads that can be broken off.

A URI is `scheme://authority/path?query`. The path is taken as it is written, as the stores' own command lines
do: nothing in it is percent-decoded. Only the end of a URI that reads `?name=value` is a query, for a `?` may
also be part of a pattern.
"""

from __future__ import annotations

import ctypes
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

import pyarrow as pa
from pyarrow import fs as pafs

from pipeline.errors import InputError

_QUERY = re.compile(r"\?\w+=[^?*\[\]]*$")
_SECRET_NAME = re.compile(r"secret|token|password|passwd|credential|signature|key|\bsig\b", re.IGNORECASE)
# A colon before the bucket's end can only part a name from a password; a port has digits alone.
_PASSWORD = re.compile(r"[^/@:]*:(?!\d+(/|$)).*@")

TEMPORARY_MARK = ".rayview-tmp-"
"""Part of the name of a file that is being written; such a file is never read."""

_STORES = ("s3", "gcs", "abfs")
"""Where a file is in a bucket, and is there as soon as its upload ends, and no sooner."""

_S3_OPTIONS = ("region", "scheme", "endpoint_override", "tls_ca_file_path")
_CONNECT_TIMEOUT_S = 3
_LOOKUP_ATTEMPTS = 3
_LOOKUP_TIMEOUT_S = 4
# With the pauses between them about two minutes: a store that is busy for a while must not end a long job.
_WORK_ATTEMPTS = 10
_WORK_TIMEOUT_S = 30
_GS_LOOKUP_S = 10


class Clients(NamedTuple):
    """Two clients of one store, alike but for their patience."""

    work: pafs.FileSystem
    """For reading and writing, hours into a job."""
    lookups: pafs.FileSystem
    """For asking what is there: says within seconds that the store does not answer."""


def split_uri(uri: str) -> tuple[str, str, str]:
    """Cut a URI into `scheme://authority`, the path with the slash before it, and the query with its `?`.

    Raises:
        InputError: it holds a secret.
    """
    scheme, _, rest = uri.partition("://")
    found = _QUERY.search(rest)
    query = found.group() if found else ""
    location = rest.removesuffix(query)
    authority, slash, path = location.partition("/")
    _refuse_secrets(scheme, rest, query)
    return f"{scheme}://{authority}", slash + path, query


def _refuse_secrets(scheme: str, rest: str, query: str) -> None:
    """What is in a URI gets into run.json, manifests, the rows' sources, logs, and the list of processes."""
    secrets = [name for name, value in parse_qsl(query[1:]) if _SECRET_NAME.search(name) or "@" in value]
    if _PASSWORD.match(rest):
        where, what = f"{scheme}://***@{rest.rpartition('@')[2]}", "a password"
    elif secrets:
        where, what = f"{scheme}://{rest.removesuffix(query)}?{secrets[0]}=***", secrets[0]
    else:
        return
    raise InputError(
        f"{where}: {what} in a URI would be written to manifests and logs; leave it out, and give credentials"
        " by the environment, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


@lru_cache(maxsize=64)
def connect(root: str, query: str) -> tuple[Clients, str]:
    """Clients for a store, and where in it `root` is.

    Args:
        root: `scheme://authority` as `split_uri` gives it.
        query: `?name=value&…`, or nothing.
    Raises:
        OSError, ValueError: the scheme or an option is not known, or the bucket's region cannot be found out.
    """
    scheme, _, bucket = root.partition("://")
    if scheme == "s3":
        return _connect_s3(bucket, dict(parse_qsl(query[1:]))), bucket
    work, path = pafs.FileSystem.from_uri(f"{root}/{query}")
    lookups = work
    if scheme in ("gs", "gcs") and "retry_limit_seconds" not in query:
        limit = f"{query}&" if query else "?"
        lookups, _ = pafs.FileSystem.from_uri(f"{root}/{limit}retry_limit_seconds={_GS_LOOKUP_S}")
    return Clients(work, lookups), path.rstrip("/")


def _connect_s3(bucket: str, options: dict[str, str]) -> Clients:
    unknown = sorted(options.keys() - set(_S3_OPTIONS))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]}; there are {', '.join(_S3_OPTIONS)}")
    if not bucket:
        raise ValueError("it names no bucket")
    environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not options.get("endpoint_override") and environment:
        options["endpoint_override"] = environment
    if not options.keys() & {"region", "endpoint_override"}:
        options["region"] = pafs.resolve_s3_region(bucket)

    def client(attempts: int, timeout_s: int) -> pafs.S3FileSystem:
        return pafs.S3FileSystem(
            **options,
            connect_timeout=_CONNECT_TIMEOUT_S,
            request_timeout=timeout_s,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=attempts),
            # A small file is then one request, and the store is not asked before there is something to write.
            allow_delayed_open=True,
        )

    return Clients(client(_WORK_ATTEMPTS, _WORK_TIMEOUT_S), client(_LOOKUP_ATTEMPTS, _LOOKUP_TIMEOUT_S))


@contextmanager
def upload(filesystem: pafs.FileSystem, path: str) -> Iterator[pa.NativeFile]:
    """A stream to a new file, which is there when the block ends well, and not at all if it raises.

    Raises:
        OSError: it cannot be written.
    """
    if filesystem.type_name not in _STORES:
        with _renamed(filesystem, path) as stream:
            yield stream
        return
    stream = filesystem.open_output_stream(path, compression=None)
    try:
        yield stream
    except BaseException:
        # pyarrow cannot abort an upload (apache/arrow#40502): closing the stream, or letting go of it, would
        # put what was written so far under the final name. So it is kept for as long as the process lives.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))
        raise
    stream.close()


@contextmanager
def _renamed(filesystem: pafs.FileSystem, path: str) -> Iterator[pa.NativeFile]:
    """A stream to a temporary name, which is renamed at the end."""
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/{TEMPORARY_MARK}{uuid.uuid4().hex}-{name}"
    filesystem.create_dir(directory, recursive=True)
    try:
        with filesystem.open_output_stream(temporary, compression=None) as stream:
            yield stream
        filesystem.move(temporary, path)
    except BaseException:
        with suppress(OSError):
            filesystem.delete_file(temporary)
        raise


def bucket_is_missing(filesystem: pafs.FileSystem, path: str) -> bool:
    """Whether a path cannot be there because its bucket is not; False where that cannot be told."""
    if filesystem.type_name not in _STORES:
        return False
    try:
        return bool(filesystem.get_file_info(path.partition("/")[0]).type == pafs.FileType.NotFound)
    except OSError:
        return False
