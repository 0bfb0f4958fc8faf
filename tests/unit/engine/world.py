"""The engine's world: the cloud in memory, kinds with quirks, and a store that can die."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from alchemy import Context, Options, Resource, alchemy, output, prop
from alchemy.events import Event, ResourceFinished
from alchemy.names import is_within
from alchemy.ports import StateStore
from alchemy.secret import Secret
from alchemy.state import Record
from alchemy.stores import MemoryStore
from alchemy.stores._memory import Memory
from alchemy.testing import cloud as testing
from alchemy.testing.checks import check_converged
from alchemy.testing.cloud import Call, CloudObject, CloudProvider, kept, use
from alchemy.testing.faults import Crashed, Faults, busy, lost, refused
from alchemy.testing.kinds import Again, Fixed, Manual, Named, Slow, Thing, ThingProvider, Token
from alchemy.testing.store import FaultyStore

MODULE = __name__


Killed = Crashed
"""The process died here."""


@dataclass(eq=False)
class Cloud(testing.Cloud):
    """The cloud in memory, with what the tests of the engine ask of it."""

    outputs_seen: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @property
    def died(self) -> bool:
        """Whether the process that calls it is dead."""
        return self.faults.crashed

    def forget(self) -> None:
        """Start a new list of calls and events."""
        super().forget()
        self.events.clear()

    def outcomes(self) -> dict[str, str]:
        """Give how each resource ended, by the end of its FQN; old generations left out."""
        ended = (event for event in self.events if isinstance(event, ResourceFinished))
        return {e.fqn.removeprefix("app/dev/"): e.outcome for e in ended if not e.old}


cloud = use(Cloud())


def reset() -> Cloud:
    """Empty the cloud."""
    cloud.__dict__.update(Cloud().__dict__)
    use(cloud)
    return cloud


def hear(event: Event) -> None:
    """Take note of an event."""
    cloud.events.append(event)


# Kinds


class Vault(Resource, kind="t::Vault", provider=f"{MODULE}:VaultProvider"):
    """An object with a secret input and a secret output."""

    password: str = prop(default="hunter2", secret=True)
    size: int = 1
    key: Secret[str] = output()
    pin: str = output(secret=True)


class Needy(Resource, kind="t::Needy", provider=f"{MODULE}:NeedyProvider"):
    """An object whose delete needs its secret."""

    token: Secret[str]
    object_id: str = output()


class Pair(Resource, kind="t::Pair"):
    """A composite of two things."""

    size: int = 1
    both: bool = True
    ids: Sequence[str] = output()

    async def declare(self) -> Mapping[str, Any]:
        """Declare the parts."""
        left = Thing("left", size=self.size)
        made = [await left]
        if self.both:
            made.append(await Thing("right", size=self.size, needs=left))
        return {"ids": [one.object_id for one in made]}


class Marked(Resource, kind="t::Marked", provider=f"{MODULE}:MarkedProvider"):
    """A resource with a fingerprint."""

    size: int = 1
    object_id: str = output()
    marks: ClassVar[dict[str, str]] = {}

    def fingerprint(self) -> Mapping[str, Any]:
        """Give what a file held, so to say."""
        return {"mark": self.marks.get(self.id, "")}


# Providers


class VaultProvider(CloudProvider[Vault]):
    """Handles `Vault`."""

    def outputs(self, made: CloudObject) -> dict[str, Any]:
        cloud.outputs_seen["password"] = made.props["password"]
        return {"key": Secret("s3cret-key"), "pin": "pin-1234"}

    async def update(self, ctx: Context[Any], want: Any, have: Any) -> Any:
        def effect() -> CloudObject:
            made = self.look(ctx)
            assert made is not None
            made.props = kept(want)
            return made

        return ctx.result(**self.outputs(await cloud.call("update", ctx, effect)))

    async def delete(self, ctx: Context[Any], have: Any) -> None:
        def effect() -> None:
            made = self.look(ctx)
            if made is not None:
                cloud.remove(made.id)

        await cloud.call("delete", ctx, effect)


class NeedyProvider(CloudProvider[Needy]):
    """Handles `Needy`."""

    async def delete(self, ctx: Context[Any], have: Any) -> None:
        assert have.token.reveal() == "needed"
        await super().delete(ctx, have)


class MarkedProvider(CloudProvider[Marked]):
    """Handles `Marked`."""


# A store that counts, and that dies with the process


class Store(FaultyStore):
    """A store in memory, with its calls and writes counted; it dies with the cloud's process."""

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__(MemoryStore(memory), cloud.faults)

    @property
    def memory(self) -> Memory:
        """What is kept."""
        assert isinstance(self.inner, MemoryStore)
        return self.inner.memory

    def after_death(self) -> Store:
        """Give what the next process finds; the cloud's calls are its own from now on."""
        cloud.faults = Faults()
        return Store(self.memory)

    def records(self) -> dict[str, Record]:
        """Give the resources' records, by the end of their FQN."""
        found = self.memory.records("")
        return {fqn.removeprefix("app/dev/"): record for fqn, record in found.items() if not record.is_scope}

    def raw(self) -> bytes:
        """Give all that is stored, as bytes."""
        return b"\n".join(raw for unit in self.memory.units.values() for raw in unit.records.values())


Program = Callable[[Any], Awaitable[Any]]


async def deploy(program: Program, store: StateStore, **options: Any) -> Any:
    """Run a program once; gives what it returns."""
    given = {"stage": "dev", "state_store": store, "retry_delay": 0.001, "lock_timeout": 0, **options}
    async with alchemy("app", **given) as app:
        return await program(app)


async def nothing(_app: Any) -> None:
    """A program that declares nothing."""


def things(**sizes: int) -> Program:
    """Give a program that declares a `Thing` of each size, awaited in order."""

    async def program(_app: Any) -> None:
        for id, size in sizes.items():
            await Thing(id, size=size)

    return program


def consistent(store: Store) -> None:
    """Check that every object is known to exactly one record, and that every record's object is there."""
    check_converged(cloud, store.memory.records(""))


def inside(fqn: str, chain: str) -> bool:
    """Say whether a call's FQN lies in a scope of `app/dev`."""
    return is_within(fqn, f"app/dev/{chain}")


__all__ = [
    "Again",
    "Call",
    "Cloud",
    "CloudProvider",
    "Fixed",
    "Killed",
    "Manual",
    "Marked",
    "Named",
    "Needy",
    "Options",
    "Pair",
    "Slow",
    "Store",
    "Thing",
    "ThingProvider",
    "Token",
    "Vault",
    "alchemy",
    "busy",
    "cloud",
    "consistent",
    "deploy",
    "lost",
    "nothing",
    "refused",
    "reset",
    "things",
]
