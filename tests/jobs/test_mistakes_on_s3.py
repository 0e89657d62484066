"""Errors of object stores: one line that names the cause, exit code 2, within seconds."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from pipeline.errors import InputError, OutputError
from pipeline.storage import objectstore
from pipeline.storage.expand import expand_inputs
from pipeline.storage.location import Location, check_writable, locate
from pipeline.storage.objectstore import Patience
from tests.commands import RunJob, the_line
from tests.s3server import Fault, Rule, Store, environment, faulty, s3_error

MAX_WAIT_S = 30


def refused_line(run_job: RunJob, env: dict[str, str], job: str, *arguments: object) -> str:
    """The error line of a job, without its prefix."""
    start = time.monotonic()
    line = the_line(run_job(job, *arguments, env=env))
    assert time.monotonic() - start < 2 * MAX_WAIT_S
    return line.removeprefix("error: ")


@pytest.fixture
def limits() -> Iterator[None]:
    """Fails a test that takes longer than a user would wait."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < MAX_WAIT_S


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("text", ["dumps/a.json.gz", "dumps", "dumps/*.gz", ""])
def test_missing_bucket_is_named(bucket: str, text: str) -> None:
    with pytest.raises(InputError, match=f"^s3://no-such-bucket/?{re.escape(text)}: no such bucket$"):
        expand_inputs([f"s3://no-such-bucket/{text}"])


def test_output_in_a_missing_bucket_is_refused(
    run_job: RunJob, store: Store, bucket: str, dump: Path
) -> None:
    out = "s3://no-such-bucket/out"
    assert refused_line(run_job, store.env, "prepare", dump, "--output", out) == f"{out}: no such bucket"
    with pytest.raises(OutputError, match=r"/a: cannot be written: no such bucket$"):
        locate(f"{out}/a").write_bytes(b"x")
    with pytest.raises(OutputError, match="/out: cannot be written to: no such bucket"):
        check_writable(locate(out))


@pytest.mark.parametrize("job", ["train", "evaluate"])
def test_missing_input_of_a_later_stage_is_named(
    run_job: RunJob, store: Store, bucket: str, job: str, tmp_path: Path
) -> None:
    option = {"train": "--data", "evaluate": "--scores"}[job]
    for uri, said in (
        ("s3://no-such-bucket/x", "no such bucket"),
        (f"s3://{bucket}/x", "no such directory"),
    ):
        assert (
            refused_line(run_job, store.env, job, option, uri, "--output", tmp_path / "out")
            == f"{uri}: {said}"
        )


def test_model_in_a_missing_bucket_is_refused(
    run_job: RunJob, store: Store, bucket: str, dump: Path, tmp_path: Path
) -> None:
    arguments = (dump, "--model", "s3://no-such-bucket/model", "--output", tmp_path / "out")
    assert "no such bucket" in refused_line(run_job, store.env, "score", *arguments)


def lookups(location: Location) -> list[Any]:
    """The first requests of a job to a location."""
    return [location.info, location.exists, location.list_files, location.child("x").info]


def refused(uri: str, words: str) -> None:
    """Check that lookups, listings and reads fail with this message."""
    for ask in lookups(locate(uri)):
        with pytest.raises(InputError, match=words) as raised:
            ask()
        assert str(raised.value).startswith(uri)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match=words):
        expand_inputs([f"{uri}/*.json"])


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_unreachable_server_is_reported(bucket: str, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    # The five requests of `refused` need five times as long as one; the next test has the default.
    monkeypatch.setattr(objectstore, "PATIENCE", Patience(lookup_attempts=1))
    refused(f"s3://{bucket}/dumps", r"cannot reach the store \(.*\); check the network, and AWS_ENDPOINT_URL")


def test_unreachable_server_ends_a_job(run_job: RunJob, tmp_path: Path) -> None:
    env = environment("http://127.0.0.1:9")
    line = refused_line(run_job, env, "prepare", "s3://bucket/dumps", "--output", tmp_path / "out")
    assert re.match(r"s3://bucket/dumps: cannot be looked up: cannot reach the store \(.*127.0.0.1:9\)", line)


@pytest.mark.usefixtures("limits")
def test_server_that_does_not_answer_is_reported(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    default, short = Patience(), Patience(lookup_timeout_s=0.5)
    monkeypatch.setattr(objectstore, "PATIENCE", short)
    start = time.monotonic()
    with faulty(store.url) as (url, proxy):
        proxy.rule = lambda method, path, headers: Fault(hang_s=60)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(InputError, match="cannot reach the store"):
            expand_inputs([f"s3://{bucket}/dumps"])
    waited = time.monotonic() - start
    # The remaining time, such as that between attempts, does not depend on the timeout.
    rest = waited - short.lookup_attempts * short.lookup_timeout_s
    assert rest + default.lookup_attempts * default.lookup_timeout_s < MAX_WAIT_S


def always(fault: Fault) -> Rule:
    return lambda method, path, headers: fault if method != "HEAD" else Fault(fault.status, "", fault.headers)


DENIED = s3_error(403, "AccessDenied", "Access Denied")
UNKNOWN_KEY = s3_error(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist")
WRONG_SECRET = s3_error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")
EXPIRED = s3_error(400, "ExpiredToken", "The provided token has expired.")
ELSEWHERE = Fault(
    301,
    "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed"
    " using the specified endpoint.</Message></Error>",
    (("x-amz-bucket-region", "eu-west-3"),),
)
WRONG_REGION = s3_error(
    400,
    "AuthorizationHeaderMalformed",
    "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-3'",
)


ANSWERS = {
    "denied": (DENIED, "access denied: the credentials are missing, wrong, or lack permission"),
    "unknown key": (UNKNOWN_KEY, "the store rejected the credentials; check AWS_ACCESS_KEY_ID"),
    "wrong secret": (WRONG_SECRET, "the store rejected the credentials; check AWS_ACCESS_KEY_ID"),
    "expired": (EXPIRED, "the credentials have expired, or this machine's clock is wrong"),
    "elsewhere": (ELSEWHERE, "the bucket is in another region; append .region=REGION"),
    "wrong region": (WRONG_REGION, "the bucket is in another region; append .region=REGION"),
}


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(("fault", "words"), ANSWERS.values(), ids=ANSWERS)
def test_error_responses_of_a_store_are_explained(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch, fault: Fault, words: str
) -> None:
    with faulty(store.url) as (url, proxy):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        proxy.rule = always(fault)
        refused(f"s3://{bucket}/dumps", words)
        with pytest.raises(OutputError, match=words):
            locate(f"s3://{bucket}/out/a").write_bytes(b"x")


class Guarded:
    """The server with access checks, an admin, and a user with read access only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._iam = boto3_client("iam", store)
        self.admin = self._user("*")
        self.reader = self._user(["s3:Get*", "s3:List*", "s3:Head*"])

    def _user(self, allowed: Any) -> dict[str, str]:
        """The environment of a new user."""
        name = f"user-{uuid.uuid4().hex[:8]}"
        statement = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._iam.create_user(UserName=name)
        self._iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy)
        key = self._iam.create_access_key(UserName=name)["AccessKey"]
        return environment(self._store.url, key["AccessKeyId"], key["SecretAccessKey"])

    def check(self, *, on: bool) -> None:
        url, plain = f"{self._store.url}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        request = Request(url, b"0" if on else b"inf", plain)
        urlopen(request, timeout=10).close()


def boto3_client(service: str, store: Store) -> Any:
    import boto3

    own = {"aws_access_key_id": "rayview", "aws_secret_access_key": "not-a-secret"}
    return boto3.client(service, endpoint_url=store.url, region_name="us-east-1", **own)


@pytest.fixture
def guarded(store: Store, bucket: str) -> Iterator[Guarded]:
    server = Guarded(store)
    server.check(on=True)
    yield server
    server.check(on=False)


def log_in(monkeypatch: pytest.MonkeyPatch, env: dict[str, str]) -> None:
    """Use the credentials of a user."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    objectstore.connect.cache_clear()


@pytest.mark.usefixtures("limits")
def test_wrong_credentials_are_reported(
    guarded: Guarded, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(monkeypatch, guarded.admin)
    file = locate(f"s3://{bucket}/dumps/a.json")
    file.write_bytes(b"{}")
    assert [f.name for f in expand_inputs([f"s3://{bucket}/dumps"])] == ["a.json"]
    for name, value in (("AWS_ACCESS_KEY_ID", "AKIANOBODY"), ("AWS_SECRET_ACCESS_KEY", "wrong")):
        log_in(monkeypatch, guarded.admin | {name: value})
        refused(f"s3://{bucket}/dumps", "the store rejected the credentials; check AWS_ACCESS_KEY_ID")


@pytest.mark.ray
def test_missing_write_permission_is_reported(
    run_job: RunJob,
    cluster: Any,
    store: Store,
    guarded: Guarded,
    bucket: str,
    dump: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log_in(monkeypatch, guarded.reader)
    assert not locate(f"s3://{bucket}/out").exists()
    with pytest.raises(OutputError, match="cannot be written: access denied: the credentials"):
        locate(f"s3://{bucket}/out/a").write_bytes(b"x")
    line = refused_line(run_job, guarded.reader, "prepare", dump, "--output", f"s3://{bucket}/out")
    assert line.startswith(f"s3://{bucket}/out: cannot be written: access denied: ")
    guarded.check(on=False)
    assert store.keys(bucket) == []


@pytest.mark.usefixtures("limits")
def test_unreachable_store_of_another_kind_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectstore, "PATIENCE", Patience(gs_lookup_retry_s=1))
    uri = "gs://anonymous@bucket/dumps?scheme=http&endpoint_override=127.0.0.1:9"
    with pytest.raises(InputError, match=r"cannot reach the store \(Could not connect to server\)"):
        expand_inputs([uri])


def test_secret_in_a_uri_is_refused_and_not_logged(
    run_job: RunJob, store: Store, bucket: str, dump: Path, tmp_path: Path
) -> None:
    logs, secret = tmp_path / "logs", f"s3://AKIA123:hunter2@{bucket}/x"
    env = store.env | {"RAYVIEW_LOG_DIR": str(logs)}
    out = ("--output", tmp_path / "out")
    said = [
        refused_line(run_job, env, "prepare", secret, *out),
        refused_line(run_job, env, "prepare", dump, "--output", secret),
        refused_line(run_job, env, "prepare", dump, *out, "--set", f"model.name={secret}"),
        refused_line(run_job, env, "score", dump, "--model", secret, *out),
    ]
    for text in [*said, *(file.read_text() for file in logs.iterdir())]:
        assert "hunter2" not in text
        assert "AKIA123" not in text
    assert all(f"s3://***@{bucket}/x: a password in a URI" in line for line in said)
    assert not (tmp_path / "out").exists()
    assert store.keys(bucket) == []
