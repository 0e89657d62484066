"""Where other machines may write as well."""

from __future__ import annotations

import pytest

from pipeline.mounts import is_shared

MOUNTS = """\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
31 22 0:26 / /tmp rw - tmpfs tmpfs rw
40 22 0:44 / /mnt/share rw,relatime - nfs4 server:/export rw,vers=4.2
41 40 0:45 / /mnt/share/local rw - xfs /dev/sdb rw
42 22 0:46 / /mnt/with\\040space rw - fuse.s3fs s3fs rw
43 22 0:47 / /mnt/twice rw - cifs //host/a rw
44 43 0:48 / /mnt/twice rw - ext4 /dev/sdc rw
45 22 0:49 / /mnt/image rw - fuse.fuse-overlayfs fuse-overlayfs rw
"""


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/home/a", False),
        ("/mnt/share", True),
        ("/mnt/share/out/scores", True),
        ("/mnt/shared", False),
        ("/mnt/share/local/out", False),
        ("/mnt/with space/out", True),
        ("/mnt/twice/out", False),
        ("/mnt/image/out", False),
    ],
)
def test_by_the_mount_that_is_nearest(path: str, shared: bool) -> None:
    assert is_shared(path, MOUNTS) is shared


def test_of_this_machine_something_is_known_or_nothing(tmp_path: object) -> None:
    assert is_shared(str(tmp_path)) in (True, False)
