"""Which workerd and which simulator files are used, by version and digest.

The two belong together: miniflare names the exact workerd that its simulator workers were built for, and how those
workers are wired is internal to it. Raise both at once, and run `tests/integration/local` afterwards.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from alchemy.local._errors import ToolchainError

WORKERD_VERSION = "1.20260730.1"
MINIFLARE_VERSION = "4.20260730.0"

NEWEST_COMPATIBILITY_DATE = "2026-08-06"
"""The newest `compatibility_date` this workerd accepts; a later one is refused with code 10021."""

_OLDEST_GLIBC = (2, 35)


@dataclass(frozen=True)
class Package:
    """One npm package.

    Attributes:
        name: as npm knows it, with its scope.
        version: exact.
        integrity: of its tarball, in the form of Subresource Integrity: `sha512-` and base64.
    """

    name: str
    version: str
    integrity: str

    @property
    def spec(self) -> str:
        """What npm takes on its command line."""
        return f"{self.name}@{self.version}"


MINIFLARE = Package(
    "miniflare",
    MINIFLARE_VERSION,
    "sha512-1Z9SB9r/o//80UA02Re3QhtcecSHAyAjf5EcKBfQVlQrCg7Miy79hl2PvtkwFLIaJ5rcrOPdDcRr577okwZPsg==",
)

_WORKERD_INTEGRITY = {
    "linux-64": "sha512-ouyPOSMbiKPeSwUJUvxtMcxGAXs2J4aPE4T5ABIYX5ClcQx5j5bbHTmnqOQEY8sAuLTPjH7dY+iB6UI5ISlwwA==",
    "linux-arm64": "sha512-YQ+Mi78U3TPdgBPtwq+Sm6rJU+Ihl2y0pjYtuuKkdmUbYzL7oLR6Xqq9wljhasnuCFICssDJaqhMep5WizYoEQ==",
    "darwin-64": "sha512-+MBHmPaiTe2KajryW0T24rZvWFxb41hD3d8anNzQqHzft6vSEb18+sp0znSwxgij7ApPhSM1+vhkNg4f3YMguA==",
    "darwin-arm64": "sha512-SBHKntPkKvNPgaCrTe99xC1CAl8ygJDzlYfK0LbuJ1muKadIw35WnhO0wu894fKBtllsVQdNzDLee+cm0ppLSQ==",
}

_MACHINES = {"x86_64": "64", "amd64": "64", "aarch64": "arm64", "arm64": "arm64"}


def workerd_package(platform_name: str) -> Package:
    """Return the package that holds workerd for a platform named as npm does, such as `linux-64`."""
    return Package(f"@cloudflare/workerd-{platform_name}", WORKERD_VERSION, _WORKERD_INTEGRITY[platform_name])


def platform_name() -> str:
    """Return this machine's platform as npm names it.

    Raises:
        ToolchainError: there is no workerd for this operating system, processor or C library.
    """
    machine = _MACHINES.get(platform.machine().lower())
    name = f"{sys.platform}-{machine}"
    if machine is None or name not in _WORKERD_INTEGRITY:
        raise ToolchainError(
            f"the local Cloudflare has no workerd for {sys.platform} on {platform.machine()}",
            hint=f"it runs on {', '.join(sorted(_WORKERD_INTEGRITY))}; elsewhere deploy to a Cloudflare account",
        )
    if sys.platform == "linux":
        _require_glibc(*platform.libc_ver())
    return name


def _require_glibc(library: str, version: str) -> None:
    found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if library != "glibc" or found < _OLDEST_GLIBC:
        oldest = ".".join(str(part) for part in _OLDEST_GLIBC)
        here = f"{library or 'another C library'} {version}".rstrip()
        raise ToolchainError(
            f"workerd needs glibc {oldest} or newer, and this system has {here}",
            hint="use Debian 12, Ubuntu 22.04 or anything newer, or a container of these",
        )
