"""URIs: names with special characters, queries, options; secrets are refused."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.storage.expand import expand_inputs
from pipeline.storage.location import locate
from pipeline.storage.objectstore import connect, split_uri
from tests.s3server import Store

QUERY = "?region=eu-west-1&endpoint_override=http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://b", ("s3://b", "", "")),
        ("s3://b/", ("s3://b", "/", "")),
        ("s3://b/d/f.json", ("s3://b", "/d/f.json", "")),
        (f"s3://b{QUERY}", ("s3://b", "", QUERY)),
        (f"s3://b/d/f{QUERY}", ("s3://b", "/d/f", QUERY)),
        ("s3://b/part-?.json", ("s3://b", "/part-?.json", "")),
        ("s3://b/part-?", ("s3://b", "/part-?", "")),
        ("s3://b/part-?.json?region=x", ("s3://b", "/part-?.json", "?region=x")),
        ("s3://b/day=1/a%20b c#1.json", ("s3://b", "/day=1/a%20b c#1.json", "")),
        ("s3://b/at@home:1.json", ("s3://b", "/at@home:1.json", "")),
        ("hdfs://host:8020/a@b", ("hdfs://host:8020", "/a@b", "")),
        ("abfs://container@account.example/d", ("abfs://container@account.example", "/d", "")),
    ],
)
def test_split_uri(uri: str, parts: tuple[str, str, str]) -> None:
    assert split_uri(uri) == parts


def test_child_names_precede_the_query(bucket: str) -> None:
    here = locate(f"s3://b/dir/{QUERY}")
    assert (here.path, here.uri, here.name, here.is_local) == ("b/dir", f"s3://b/dir{QUERY}", "dir", False)
    below = here.child("x/y.json")
    assert (below.path, below.uri) == ("b/dir/x/y.json", f"s3://b/dir/x/y.json{QUERY}")
    assert below.name == "y.json"
    assert below.parent.parent == here
    assert here.relative(below) == "x/y.json"
    assert locate(below.uri) == below
    assert locate(f"s3://b{QUERY}").child("x").uri == f"s3://b/x{QUERY}"


def test_bucket_is_its_own_parent(bucket: str) -> None:
    top = locate("s3://b")
    assert top.parent == top == top.child("x").parent
    assert top.child("x").uri == "s3://b/x"


def test_query_options_are_used(store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    here = locate(f"s3://{bucket}/d?region=eu-west-3&endpoint_override={store.url}")
    assert here.filesystem.region == "eu-west-3"
    here.child("a").write_bytes(b"x")
    assert store.get(bucket, "d/a") == b"x"
    host = store.url.removeprefix("http://")
    assert locate(f"s3://{bucket}/d?scheme=http&endpoint_override={host}").child("a").exists()


def test_s3_specific_endpoint_variable_takes_precedence(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert not locate(f"s3://{bucket}/none").exists()


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://b/d?colour=red", "unknown option colour; known options: region, scheme, endpoint_override"),
        ("s3:///d", "the URI has no bucket"),
        ("s3://b/d//e", "two slashes in a row"),
        ("s3a://b/d", "cannot be opened"),
    ],
)
def test_invalid_uri_is_refused(bucket: str, uri: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        locate(uri)
    assert uri in str(raised.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA123:hunter2@b/d",
        "s3://AKIA123:hun/ter2@b/d",
        "s3://AKIA123:hunter2?x=1@b/d",
        "s3://AKIA123:123@b/d?region=x",
        "s3://b/d?region=x&secret_key=hunter2",
        "s3://b/d?access_token=hunter2",
        "s3://b/d?endpoint_override=http://user:hunter2@host:9000",
        "abfs://c@a.example/d?sas_token=hunter2",
        "gs://b/d?credential=hunter2",
    ],
)
def test_secret_in_a_uri_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(InputError, match="in a URI would be written to manifests and logs") as raised:
        locate(uri)
    assert "hun" not in str(raised.value)
    assert "AKIA123" not in str(raised.value)
    assert ":123@" not in str(raised.value)


NAMES = ["a b.json", "a%20b.json", "a+b.json", "a#1.json", "ü 漢.json", "a=1/b&c.json", "[x].json"]


@pytest.mark.parametrize("query", ["", "?region=us-east-1"])
def test_names_with_any_character_are_found_and_read(store: Store, bucket: str, query: str) -> None:
    for name in NAMES:
        store.put(bucket, f"d/{name}", name.encode())
    files = expand_inputs([f"s3://{bucket}/d{query}"])
    assert sorted(f.path.removeprefix(f"{bucket}/d/") for f in files) == sorted(NAMES)
    for file in files:
        reopened = locate(file.uri)
        assert f"d/{reopened.read_bytes().decode()}" == reopened.path.removeprefix(f"{bucket}/")
    assert [f.name for f in expand_inputs([f"s3://{bucket}/d/[[]x].json{query}"])] == ["[x].json"]
    assert [f.name for f in expand_inputs([f"s3://{bucket}/d/[x].json{query}"])] == ["[x].json"]


@pytest.mark.parametrize("query", ["", "?region=us-east-1"])
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("d/*.json", ["d/a.json", "d/b.json"]),
        ("d/?.json", ["d/a.json", "d/b.json"]),
        ("**/a.json", ["a.json", "d/a.json", "d/e/a.json"]),
        ("*/e", None),
        ("d", ["d/a.json", "d/b.json", "d/e/a.json"]),
        ("d/", ["d/a.json", "d/b.json", "d/e/a.json"]),
        ("", ["a.json", "d/a.json", "d/b.json", "d/e/a.json"]),
    ],
)
def test_globs_and_directories(
    store: Store, bucket: str, pattern: str, found: list[str] | None, query: str
) -> None:
    for name in ("a.json", "d/a.json", "d/b.json", "d/e/a.json", "d/.h.json", "d/notes.txt"):
        store.put(bucket, name, b"{}")
    store.put(bucket, "d/e/")
    uri = f"s3://{bucket}/{pattern}{query}"
    if found is None:
        with pytest.raises(InputError, match="no file matches this pattern"):
            expand_inputs([uri])
    else:
        uris = [f.uri for f in expand_inputs([uri])]
        assert uris == [f"s3://{bucket}/{name}{query}" for name in found]


def test_different_options_use_different_clients(bucket: str) -> None:
    one, other = (connect("s3://b", f"?region={name}")[0] for name in ("eu-west-1", "us-west-2"))
    assert (one.work.region, other.work.region) == ("eu-west-1", "us-west-2")
    assert connect("s3://b", "?region=eu-west-1")[0] is one


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://b/d/a b.json", "b/d/a b.json"),
        ("gs://b", "b"),
        ("gs://anonymous@b/d?endpoint_override=127.0.0.1:9&scheme=http", "b/d"),
        ("abfs://c@account.dfs.core.windows.net/d/x", "c/d/x"),
    ],
)
def test_uris_of_other_stores_are_parsed(uri: str, path: str) -> None:
    here = locate(uri)
    assert (here.path, here.uri) == (path, uri)
    assert here.child("y").path == f"{path}/y"
    assert locate(here.child("y").uri) == here.child("y")
