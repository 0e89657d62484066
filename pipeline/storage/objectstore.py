"""Additions to pyarrow's object store filesystems: URIs, timeouts, uploads that can be aborted.

A URI is `scheme://authority/path?query`. The path is used as written, without percent-decoding, as the
command line tools of the stores do. Only a trailing `?name=value` is a query, because `?` may also be part of
a glob.
"""

from __future__ import annotations

import ctypes
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

import pyarrow as pa
from pyarrow import fs as pafs

from pipeline.errors import InputError

_QUERY = re.compile(r"\?\w+=[^?*\[\]]*$")
_SECRET_NAME = re.compile(r"secret|token|password|passwd|credential|signature|key|\bsig\b", re.IGNORECASE)
# A colon in the authority that does not start a port (digits only) separates a user name from a password.
_PASSWORD = re.compile(r"[^/@:]*:(?!\d+(/|$)).*@")

TEMPORARY_MARK = ".rayview-tmp-"
"""Part of the name of a file that is being written; such a file is never read."""

_STORES = ("s3", "gcs", "abfs")
"""pyarrow filesystem types with buckets, in which a file appears only when its upload ends."""

_S3_OPTIONS = ("region", "scheme", "endpoint_override", "tls_ca_file_path")


@dataclass(frozen=True)
class Patience:
    """Timeouts and attempts of the clients of a store."""

    connect_timeout_s: float = 3
    lookup_attempts: int = 3
    lookup_timeout_s: float = 4
    work_attempts: int = 10
    """About two minutes including backoff: a temporarily overloaded store must not fail a long job."""
    work_timeout_s: float = 30
    gs_lookup_retry_s: float = 10
    """How long lookups in Google's store are retried."""


PATIENCE = Patience()


class Clients(NamedTuple):
    """Two clients of one store that differ only in their timeouts."""

    work: pafs.FileSystem
    """For reading and writing: retries for minutes."""
    lookups: pafs.FileSystem
    """For metadata requests: fails within seconds if the store does not respond."""


def split_uri(uri: str) -> tuple[str, str, str]:
    """`scheme://authority`, the path with its leading slash, and the query with its `?`.

    Raises:
        InputError: the URI contains a secret.
    """
    scheme, _, rest = uri.partition("://")
    match = _QUERY.search(rest)
    query = match.group() if match else ""
    location = rest.removesuffix(query)
    authority, slash, path = location.partition("/")
    _refuse_secrets(scheme, rest, query)
    return f"{scheme}://{authority}", slash + path, query


def _refuse_secrets(scheme: str, rest: str, query: str) -> None:
    """Raise InputError for a secret: URIs are stored in run.json, manifests, rows, logs and process lists."""
    secrets = [name for name, value in parse_qsl(query[1:]) if _SECRET_NAME.search(name) or "@" in value]
    if _PASSWORD.match(rest):
        shown, secret = f"{scheme}://***@{rest.rpartition('@')[2]}", "a password"
    elif secrets:
        shown, secret = f"{scheme}://{rest.removesuffix(query)}?{secrets[0]}=***", secrets[0]
    else:
        return
    raise InputError(
        f"{shown}: {secret} in a URI would be written to manifests and logs; remove it and set credentials in"
        " the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
    )


@lru_cache(maxsize=64)
def connect(root: str, query: str) -> tuple[Clients, str]:
    """Clients of a store, and the path of `root` in its filesystem.

    Args:
        root: `scheme://authority`, from `split_uri`.
        query: `?name=value&…`, or an empty string.
    Raises:
        OSError, ValueError: the scheme or an option is unknown, or the bucket's region cannot be resolved.
    """
    scheme, _, bucket = root.partition("://")
    if scheme == "s3":
        return _connect_s3(bucket, dict(parse_qsl(query[1:]))), bucket
    work, path = pafs.FileSystem.from_uri(f"{root}/{query}")
    lookups = work
    if scheme in ("gs", "gcs") and "retry_limit_seconds" not in query:
        limit = f"{query}&" if query else "?"
        lookups, _ = pafs.FileSystem.from_uri(
            f"{root}/{limit}retry_limit_seconds={PATIENCE.gs_lookup_retry_s}"
        )
    return Clients(work, lookups), path.rstrip("/")


def _connect_s3(bucket: str, options: dict[str, str]) -> Clients:
    unknown = sorted(options.keys() - set(_S3_OPTIONS))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]}; known options: {', '.join(_S3_OPTIONS)}")
    if not bucket:
        raise ValueError("the URI has no bucket")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not options.get("endpoint_override") and endpoint:
        options["endpoint_override"] = endpoint
    if not options.keys() & {"region", "endpoint_override"}:
        options["region"] = pafs.resolve_s3_region(bucket)

    def client(attempts: int, timeout_s: float) -> pafs.S3FileSystem:
        return pafs.S3FileSystem(
            **options,
            connect_timeout=PATIENCE.connect_timeout_s,
            request_timeout=timeout_s,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=attempts),
            # A small file then takes one request instead of a multipart upload of three.
            allow_delayed_open=True,
        )

    work = client(PATIENCE.work_attempts, PATIENCE.work_timeout_s)
    return Clients(work, client(PATIENCE.lookup_attempts, PATIENCE.lookup_timeout_s))


@contextmanager
def upload(filesystem: pafs.FileSystem, path: str) -> Iterator[pa.NativeFile]:
    """Output stream of a new file, which appears when the block ends, or not at all if the block raises.

    Raises:
        OSError: the file cannot be written.
    """
    if filesystem.type_name not in _STORES:
        with _renamed(filesystem, path) as stream:
            yield stream
        return
    stream = filesystem.open_output_stream(path, compression=None)
    try:
        yield stream
    except BaseException:
        # pyarrow cannot abort an upload (apache/arrow#40502): closing or deallocating the stream would
        # publish the partial content under the final name. The extra reference keeps it open until the
        # process exits.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))
        raise
    stream.close()


@contextmanager
def _renamed(filesystem: pafs.FileSystem, path: str) -> Iterator[pa.NativeFile]:
    """Output stream of a temporary file, which is renamed when the block ends."""
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
    """Whether the bucket of a path does not exist; False if that cannot be determined."""
    if filesystem.type_name not in _STORES:
        return False
    try:
        return bool(filesystem.get_file_info(path.partition("/")[0]).type == pafs.FileType.NotFound)
    except OSError:
        return False
