"""Whether a path lies where other machines may write as well."""

from __future__ import annotations

import os
import re

import psutil

_SHARED = re.compile(r"nfs|cifs|smb|ceph|lustre|gpfs|beegfs|gluster|afs|fuse\.(?!fuse-overlayfs)")
"""What the names of network filesystems begin with; also those that a program serves, as for a bucket."""


def is_shared(path: str) -> bool:
    """Whether a path is on a network filesystem, where a lock may keep out this machine's processes alone."""
    real = f"{os.path.realpath(path).rstrip('/')}/"
    nearest, kind = "", ""
    for mount in psutil.disk_partitions(all=True):
        point = f"{mount.mountpoint.rstrip('/')}/"
        # The last of two at one place hides the other.
        if real.startswith(point) and len(point) >= len(nearest):
            nearest, kind = point, mount.fstype
    return _SHARED.match(kind) is not None
