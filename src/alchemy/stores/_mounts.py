"""On which file system a folder lies, as far as Linux tells: on those of a network, locks may not hold."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = "/proc/self/mountinfo"
NETWORK = frozenset(
    {
        *(
            "nfs",
            "nfs4",
            "cifs",
            "smb2",
            "smb3",
            "smbfs",
            "ncpfs",
            "afs",
            "ceph",
            "glusterfs",
            "lustre",
            "beegfs",
            "9p",
        ),
        *("virtiofs", "vboxsf", "prl_fs", "davfs", "drvfs"),
    }
)
"""Also those that a virtual machine shares with its host: what locks there is not seen here."""
_OVER_FUSE = frozenset(
    {
        *("sshfs", "glusterfs", "ceph", "ceph-fuse", "s3fs", "gcsfuse", "goofys", "mount-s3", "rclone", "davfs2"),
        *("juicefs", "blobfuse2", "vmhgfs-fuse", "grpcfuse", "osxfs"),
    }
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def network_file_system(folder: str) -> str | None:
    """Name the network file system that a folder lies on, such as `nfs4`; `None` for a local or an unknown one.

    Args:
        folder: an absolute path; it need not exist.
    """
    try:
        mounts = Path(MOUNTS).read_text(errors="surrogateescape")
    except OSError:
        return None  # no Linux, or no /proc: nothing is known
    kind = kind_at(os.path.realpath(folder), mounts)
    return kind if kind is not None and _is_network(kind) else None


def network_warnings(folder: str) -> list[str]:
    """Say, in at most one sentence, that locks may not hold where a folder lies, and what to use instead."""
    kind = network_file_system(folder)
    if kind is None:
        return []
    return [
        f"{folder} lies on a network file system ({kind}), where locks may not hold: two machines could change a stage"
        " at once. Keep state on a local disk, or in a store that is made for several machines, such as a database or"
        " an object store (--state-store URL)"
    ]


def kind_at(path: str, mounts: str) -> str | None:
    """Give the type of the file system at a path without links, as the text of `/proc/self/mountinfo` has it.

    A line is `36 35 0:42 / /mnt/share rw,noatime shared:1 - nfs4 server:/export rw`; of mounts at one point the last
    counts.
    """
    best, kind = -1, None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4])
        if len(point) >= best and (path == point or path.startswith(point.rstrip("/") + "/")):
            best, kind = len(point), after.split(" ", 1)[0]
    return kind


def _is_network(kind: str) -> bool:
    return kind in NETWORK or (kind.startswith("fuse.") and kind.removeprefix("fuse.") in _OVER_FUSE)
