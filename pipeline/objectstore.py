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
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

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

    work: Any
    """For reading and writing, hours into a job."""
    lookups: Any
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

    def client(attempts: int, timeout_s: int) -> Any:
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
def upload(filesystem: Any, path: str) -> Iterator[Any]:
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
def _renamed(filesystem: Any, path: str) -> Iterator[Any]:
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


def bucket_is_missing(filesystem: Any, path: str) -> bool:
    """Whether a path cannot be there because its bucket is not; False where that cannot be told."""
    if filesystem.type_name not in _STORES:
        return False
    try:
        return bool(filesystem.get_file_info(path.partition("/")[0]).type == pafs.FileType.NotFound)
    except OSError:
        return False


def with_text(error: Exception, filesystem: Any, path: str) -> Exception:
    """An error that has a text; S3 sends none with its answer to HEAD, but does when asked to list."""
    if "No response body" in str(error):
        try:
            filesystem.get_file_info(pafs.FileSelector(path))
        except OSError as fuller:
            return fuller
    return error


def is_from_store(error: OSError) -> bool:
    """Whether an error tells of a store or the way to it, and not of what is in a file."""
    return bool(re.search("AWS Error|google::cloud::Status|Azure", str(error)))


_REASONS = (
    (r"NO_SUCH_BUCKET|Bucket '\S*' not found", "there is no such bucket"),
    (
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT"
        r"|InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken",
        "the store does not know these credentials; see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        r"REQUEST_EXPIRED|ExpiredToken|token has expired|REQUEST_TIME_TOO_SKEWED",
        "the credentials have expired, or this machine's clock is wrong",
    ),
    (
        r"PermanentRedirect|AuthorizationHeaderMalformed|HTTP status 301|IllegalLocationConstraint"
        r"|bucket is located in|region '\S*' is wrong",
        "the bucket is in another region; name that with ?region=REGION after the URI",
    ),
    (
        r"ACCESS_DENIED|MISSING_AUTHENTICATION|HTTP status 40[13]|PERMISSION_DENIED|UNAUTHENTICATED"
        r"|OAuth2 access",
        "access denied: the credentials are missing or wrong, or do not allow this",
    ),
    (
        # Arrow reads into a buffer of the size that it asked for.
        r"Failed to flush response stream",
        "the store answers with an error that is longer than what is read; try again",
    ),
    (
        r"HTTP status 400",
        "the store refuses the request: expired credentials, or a bucket in another region (?region=REGION)",
    ),
)


def explain(error: Exception) -> str:
    """The plain reason of an error of a filesystem, in one line."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    for pattern, reason in _REASONS:
        if re.search(pattern, text):
            return reason
    if "NETWORK_CONNECTION" in text or "Retry policy exhausted" in text:
        detail = re.search(r"(?:Details: |CURL error \[\d+\]=)(.+?)(?: error_info|$)", text)
        said = f" ({detail.group(1).partition(' after ')[0]})" if detail else ""
        return f"the store cannot be reached{said}; see the network, and AWS_ENDPOINT_URL if that is set"
    plain = text.partition(". Detail:")[0].partition("Detail:")[0].partition(" (Request ID")[0]
    system = re.search(r"Detail: \[errno \d+\] (.+)$", text)
    return plain.strip().rstrip(".") + (f": {system.group(1)}" if system else "")
