"""Locations on a real S3 server, as on a local disk."""

from __future__ import annotations

from s3server import Store

from pipeline.storage import locate


def test_write_read_list_delete(store: Store, bucket: str) -> None:
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
