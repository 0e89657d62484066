"""An S3 server on loopback for the session, and a bucket of its own for each test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from s3server import Store, environment, s3_client

from pipeline import objectstore, outputs


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """A server for the session; in a thread of this process, its data in memory."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    yield Store(url, environment(url), s3_client(url))
    server.stop()


@pytest.fixture
def bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an empty bucket that this process can use."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    objectstore.connect.cache_clear()
    yield store.new_bucket()
    outputs.release_outputs()
    objectstore.connect.cache_clear()
