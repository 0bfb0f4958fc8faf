"""As null.py, in a store that leaves out what $WITHOUT names; with $KILL it ends itself when all is created."""

import os
import signal
from collections.abc import Awaitable

from alchemy import Context, Provider, Resource, alchemy, output
from alchemy.ports import Lease
from alchemy.stores import FileStore
from alchemy.stores._disk import Disk

WITHOUT = os.environ.get("WITHOUT", "").split()


class Null(Resource, kind="bench::Null", provider="file:stored.py#NullProvider"):
    value: str
    echo: str = output()


class NullProvider(Provider[Null]):
    recover = "again"

    async def create(self, ctx: Context[Null], want: Null) -> Null:
        return ctx.result(echo=want.value)

    async def update(self, ctx: Context[Null], want: Null, have: Null) -> Null:
        return ctx.result(echo=want.value)

    async def delete(self, ctx: Context[Null], have: Null) -> None:
        pass


class Unsynced(Disk):
    """A disk that nobody waits for: what a power cut would leave of it is left to luck."""

    def fdatasync(self, fd: int) -> None:
        pass

    def sync_folder(self, path: str) -> None:
        pass

    def sync_all(self, path: str) -> None:
        pass


class Store(FileStore):
    """The default store, but for what is to be left out."""

    def __init__(self) -> None:
        super().__init__(".alchemy", disk=Unsynced() if "sync" in WITHOUT else Disk())

    def save_backup(self, lease: Lease, name: str, content: bytes) -> Awaitable[None]:
        return self.set(lease) if "backup" in WITHOUT else super().save_backup(lease, name, content)


async def main() -> None:
    count, version = int(os.environ["N"]), os.environ["V"]
    async with alchemy("bench", state_store=Store()):
        made = [Null(f"r{number}", value=f"{version}-{number}") for number in range(count)]
        if "KILL" in os.environ:
            for each in made:
                await each
            os.kill(os.getpid(), signal.SIGKILL)
