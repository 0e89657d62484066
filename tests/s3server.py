"""An S3 store for tests, and a proxy that makes chosen requests fail."""

from __future__ import annotations

import http.client
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Store:
    """An S3 server, the environment variables that its users need, and a plain client."""

    url: str
    env: dict[str, str]
    client: Any

    def new_bucket(self) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, key: str, data: bytes = b"") -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def get(self, bucket: str, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


def environment(url: str, key: str = "rayview", secret: str = "not-a-secret") -> dict[str, str]:
    """Environment variables of a process that uses one store and no credentials of this machine."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def s3_client(url: str, key: str = "rayview", secret: str = "not-a-secret") -> Any:
    import boto3

    return boto3.client(
        "s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1"
    )


@dataclass(frozen=True)
class Fault:
    """How a request fails: with an error, with a truncated body, or without a response."""

    status: int = 0
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    cut_after: int | None = None
    """Number of bytes of the body that are sent."""
    hang_s: float = 0.0


def s3_error(status: int, code: str, message: str = "") -> Fault:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Fault(status, body)


Rule = Callable[[str, str, dict[str, str]], Fault | None]
"""The fault for a request's method, path with query, and headers (names in lower case)."""


class Proxy:
    """A server that forwards requests to a store, except those that a rule makes fail."""

    def __init__(self, url: str) -> None:
        self.target = urlsplit(url).netloc
        self.rule: Rule = lambda method, path, headers: None
        self.requests: list[str] = []


@contextmanager
def faulty(url: str) -> Iterator[tuple[str, Proxy]]:
    """A running proxy in front of a store, and its URL."""
    proxy = Proxy(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise the body of a response waits for the client's acknowledgment of the headers, 40 ms.
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def do_any(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            data = read_body(self.rfile, headers)
            proxy.requests.append(f"{self.command} {self.path}")
            fault = proxy.rule(self.command, self.path, headers)
            if fault is not None and fault.hang_s:
                time.sleep(fault.hang_s)
            if fault is not None and fault.status:
                self.answer(fault.status, list(fault.headers), fault.body.encode(), None)
            elif fault is not None and fault.cut_after is None:
                self.close_connection = True
            else:
                status, answered, body = forward(proxy.target, self.command, self.path, headers, data)
                self.answer(status, answered, body, fault.cut_after if fault else None)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any  # noqa: N815

        def answer(
            self, status: int, headers: list[tuple[str, str]], body: bytes, cut_after: int | None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if cut_after is None else body[:cut_after])
            self.close_connection = cut_after is not None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # `shutdown` waits for the end of a polling interval.
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", proxy
    finally:
        server.shutdown()
        server.server_close()


def read_body(file: Any, headers: dict[str, str]) -> bytes:
    """The body of a request; chunked transfer encoding is replaced by a length."""
    if headers.pop("transfer-encoding", "") != "chunked":
        return bytes(file.read(int(headers.get("content-length", "0"))))
    parts = []
    while size := int(file.readline().partition(b";")[0], 16):
        parts.append(file.read(size))
        file.readline()
    file.readline()
    data = b"".join(parts)
    headers["content-length"] = str(len(data))
    return data


def forward(
    target: str, method: str, path: str, headers: dict[str, str], data: bytes
) -> tuple[int, list[tuple[str, str]], bytes]:
    """The status, headers and body that the store answers with."""
    connection = http.client.HTTPConnection(target)
    connection.request(method, path, data, headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    kept = [(n, v) for n, v in response.getheaders() if n.lower() not in ("transfer-encoding", "connection")]
    return response.status, kept, body
