"""Which filesystems are shared with other machines."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline.rundir.lease import is_shared

MOUNTS = {
    "/": "ext4",
    "/tmp": "tmpfs",
    "/mnt/share": "nfs4",
    "/mnt/share/local": "xfs",
    "/mnt/with space": "fuse.s3fs",
    "/mnt/image": "fuse.fuse-overlayfs",
}


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/home/a", False),
        ("/mnt/share", True),
        ("/mnt/share/out/scores", True),
        ("/mnt/shared", False),
        ("/mnt/share/local/out", False),
        ("/mnt/with space/out", True),
        ("/mnt/image/out", False),
        ("/mnt/twice/out", False),
    ],
)
def test_nearest_mount_decides(path: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [*MOUNTS.items(), ("/mnt/twice", "cifs"), ("/mnt/twice", "ext4")]
    found = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda *, all: found)
    assert is_shared(path) is shared


def test_shared_memory_of_this_machine_is_not_shared() -> None:
    if Path("/dev/shm").is_dir():
        assert not is_shared("/dev/shm/rayview")
