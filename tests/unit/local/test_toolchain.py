"""Installing the runtime into a cache, from tarballs made here."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import platform
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from alchemy.local import _npm, _pins, _toolchain
from alchemy.local._errors import ToolchainError
from alchemy.local._pins import Package

pytestmark = pytest.mark.anyio

WORKERD = b"#!/bin/sh\necho workerd\n"


def tarball(path: Path, files: dict[str, bytes]) -> str:
    """Write a tarball as npm has it and return its digest."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand-ins for both packages, in a folder that an npm of our own copies from; what was fetched is listed."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    digests = {
        "workerd": tarball(shelf / "workerd.tgz", {"bin/workerd": WORKERD, "README.md": b""}),
        "miniflare": tarball(shelf / "miniflare.tgz", {"dist/src/workers/d1/database.worker.js": b"js"}),
    }
    fetched: list[str] = []

    def pack(package: Package, into: Path) -> Path:
        fetched.append(package.name)
        return Path(shutil.copy(shelf / f"{package.name}.tgz", into))

    monkeypatch.setenv("ALCHEMY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_npm, "pack", pack)
    monkeypatch.setattr(_pins, "MINIFLARE", Package("miniflare", "1", digests["miniflare"]))
    monkeypatch.setattr(_pins, "workerd_package", lambda name: Package("workerd", "1", digests["workerd"]))
    return fetched


async def test_both_packages_are_installed_once(registry: list[str]) -> None:
    """The first installation says what it does; three more, at once, download nothing."""
    assert _toolchain.installed() is None
    said: list[str] = []
    toolchain = await _toolchain.install(report=said.append)
    assert toolchain.workerd.read_bytes() == WORKERD
    assert (toolchain.simulators / "d1" / "database.worker.js").read_bytes() == b"js"
    assert "workerd@1" in said[0]
    await asyncio.gather(*(_toolchain.install() for _ in range(3)))
    assert registry == ["workerd", "miniflare"]
    assert _toolchain.installed() == toolchain


async def test_installers_do_not_disturb_each_other(registry: list[str]) -> None:
    """Five at once download once."""
    toolchains = await asyncio.gather(*(_toolchain.install() for _ in range(5)))
    assert len(set(toolchains)) == 1
    assert registry == ["workerd", "miniflare"]


async def test_a_wrong_digest_installs_nothing(registry: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second package differs: an error, and nothing that counts as installed or takes up space."""
    monkeypatch.setattr(_pins, "MINIFLARE", Package("miniflare", "1", "sha512-wrong"))
    with pytest.raises(ToolchainError, match="miniflare@1"):
        await _toolchain.install()
    assert _toolchain.installed() is None
    assert [path.name for path in (_toolchain.cache_dir() / "local-cloudflare").iterdir()] == ["install.lock"]


async def test_what_a_killed_installation_left_is_removed(registry: list[str]) -> None:
    """A folder that was being filled is cleared away by the next installation."""
    left = _toolchain.cache_dir() / "local-cloudflare" / "installing-abc"
    left.mkdir(parents=True)
    (left / "half").touch()
    await _toolchain.install()
    assert not left.exists()


async def test_a_workerd_that_does_not_run_is_not_installed(
    registry: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new workerd is tried before it counts; its own words are in the error."""
    broken = b"#!/bin/sh\necho no such library >&2; exit 1\n"
    digest = tarball(tmp_path / "shelf" / "workerd.tgz", {"bin/workerd": broken})
    monkeypatch.setattr(_pins, "workerd_package", lambda name: Package("workerd", "1", digest))
    with pytest.raises(ToolchainError, match="no such library"):
        await _toolchain.install()
    assert _toolchain.installed() is None


async def test_a_tarball_without_the_files_is_refused(
    registry: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that holds something else is an error, even with the right digest."""
    digest = tarball(tmp_path / "shelf" / "workerd.tgz", {"other": b""})
    monkeypatch.setattr(_pins, "workerd_package", lambda name: Package("workerd", "1", digest))
    with pytest.raises(ToolchainError, match="does not hold"):
        await _toolchain.install()


def test_the_cache_is_where_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own variable, then XDG's, then the home directory."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert _toolchain.cache_dir() == Path("/home/somebody/.cache/alchemy")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert _toolchain.cache_dir() == Path("/xdg/alchemy")
    monkeypatch.setenv("ALCHEMY_CACHE_DIR", "/own")
    assert _toolchain.cache_dir() == Path("/own")


@pytest.mark.parametrize(
    ("system", "machine", "library", "expected"),
    [
        ("linux", "x86_64", ("glibc", "2.36"), "linux-64"),
        ("linux", "aarch64", ("glibc", "2.35"), "linux-arm64"),
        ("darwin", "arm64", ("", ""), "darwin-arm64"),
        ("darwin", "x86_64", ("", ""), "darwin-64"),
        ("linux", "x86_64", ("glibc", "2.31"), None),
        ("linux", "x86_64", ("", ""), None),
        ("linux", "riscv64", ("glibc", "2.36"), None),
        ("win32", "AMD64", ("", ""), None),
    ],
)
def test_a_platform_has_a_workerd_or_an_error(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, library: tuple[str, str], expected: str | None
) -> None:
    """Each supported platform by npm's name; another processor, system or C library is an error with a remedy."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: library)
    if expected is not None:
        assert _pins.platform_name() == expected
        assert _pins.workerd_package(expected).integrity.startswith("sha512-")
        return
    with pytest.raises(ToolchainError) as failed:
        _pins.platform_name()
    assert failed.value.hint
