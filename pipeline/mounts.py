"""Whether a path lies where other machines may write as well."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SHARED = re.compile(r"nfs|cifs|smb|ceph|lustre|gpfs|beegfs|gluster|afs|fuse\.(?!fuse-overlayfs)")
"""What the names of network filesystems begin with; also those that a program serves, as for a bucket."""


def is_shared(path: str, mounts: str | None = None) -> bool:
    """Whether a path is on a network filesystem, where a lock may keep out this machine's processes alone.

    Args:
        mounts: as Linux's /proc/self/mountinfo (see proc(5)), which is read by default; elsewhere nothing
            is known, and False is returned.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return False
    found = ("", "")
    real = f"{os.path.realpath(path).rstrip('/')}/"
    for line in mounts.splitlines():
        place, _, rest = line.partition(" - ")
        point = place.split(" ")[4].encode().decode("unicode_escape").rstrip("/") + "/"
        # The last of two at one place hides the other.
        if real.startswith(point) and len(point) >= len(found[0]):
            found = (point, rest.split(" ")[0])
    return _SHARED.match(found[1]) is not None
