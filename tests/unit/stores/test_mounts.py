"""File systems of a network are told from local ones, and whoever keeps state there is warned."""

from __future__ import annotations

from pathlib import Path

import pytest

from alchemy.stores import FileStore, _mounts
from alchemy.stores._mounts import kind_at, network_file_system
from alchemy.testing.contract import UNIT, an_owner

pytestmark = pytest.mark.anyio

MOUNTS = r"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
22 27 0:21 / /proc rw,relatime - proc proc rw
40 27 0:50 / /mnt/share rw,relatime shared:1 master:2 - nfs4 server:/export rw,vers=4.2
41 40 0:51 / /mnt/share/local rw - xfs /dev/vdb rw
42 27 0:52 / /mnt/my\040share rw - fuse.sshfs me@there:/ rw
43 27 0:53 / /mnt/twice rw - cifs //server/share rw
44 43 0:54 / /mnt/twice rw - tmpfs tmpfs rw
45 27 0:55 / /mnt/fuse rw - fuse.portal portal rw
a line that is cut
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/state", "ext4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/project/.alchemy", "nfs4"),
        ("/mnt/share/local/.alchemy", "xfs"),
        ("/mnt/my share/.alchemy", "fuse.sshfs"),
        ("/mnt/twice/x", "tmpfs"),
        ("/", "ext4"),
    ],
)
def test_the_innermost_and_last_mount_counts(path: str, kind: str) -> None:
    """Names are compared by parts, escaped ones too; what is not a mount is passed over."""
    assert kind_at(path, MOUNTS) == kind


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel says, in a file of the test's."""
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    monkeypatch.setattr(_mounts, "MOUNTS", str(path))
    return path


def test_which_ones_are_a_network_s(mounts: Path, tmp_path: Path) -> None:
    """NFS and SSH are; disks and other uses of FUSE are not; links are followed; without /proc nothing is known."""
    assert network_file_system("/mnt/share/x") == "nfs4"
    assert network_file_system("/mnt/my share") == "fuse.sshfs"
    assert network_file_system("/mnt/fuse") is None
    assert network_file_system("/srv") is None
    (tmp_path / "link").symlink_to("/mnt/share")
    assert network_file_system(str(tmp_path / "link/.alchemy")) == "nfs4"
    mounts.unlink()
    assert network_file_system("/mnt/share/x") is None


async def test_a_holder_is_warned_once(mounts: Path, tmp_path: Path) -> None:
    """Whoever loads under a lease hears that locks may not hold and which store to use; readers hear nothing."""
    mounts.write_text(f"40 27 0:50 / {tmp_path} rw - nfs server:/ rw\n")
    store = FileStore(tmp_path / ".alchemy")
    assert (await store.load(UNIT)).notices == []
    lease = await store.acquire(UNIT, owner=an_owner(), timeout=0)
    (notice,) = (await store.load(UNIT, lease=lease)).notices
    assert "(nfs), where locks may not hold" in notice
    assert "--state-store" in notice
    assert (await store.load(UNIT, lease=lease)).notices == []
    await store.deinit()
