"""A scripted cloud: objects in memory, a log of calls, failures and gates to inject, and a store that can die."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from alchemy import Context, Naming, Options, Provider, Resource, alchemy, output, prop
from alchemy.errors import AlreadyExists, Gone, ProviderError
from alchemy.events import Event, ResourceFinished
from alchemy.names import is_within
from alchemy.ports import Lease
from alchemy.provider import Recover
from alchemy.secret import Secret
from alchemy.state import Record
from alchemy.stores import MemoryStore

MODULE = __name__


class Killed(BaseException):
    """The process died here."""


@dataclass
class Held:
    """One object of the cloud."""

    id: str
    name: str
    kind: str
    props: dict[str, Any]
    fqn: str


@dataclass
class Call:
    """One call of a handler that the cloud has seen."""

    op: str
    fqn: str
    name: str

    def __str__(self) -> str:
        return f"{self.op} {self.fqn.removeprefix('app/dev/')}"


@dataclass
class Fault:
    """A failure to inject: before the effect of a call, or after it."""

    error: BaseException
    after: bool = False
    times: int = 1


class Gate:
    """Holds a call open until it is opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    def open(self) -> None:
        """Let the call go on."""
        self.opened.set()


@dataclass
class Cloud:
    """All that exists, and all that happened."""

    objects: dict[str, Held] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    faults: dict[tuple[str, str], list[Fault]] = field(default_factory=dict)
    gates: dict[tuple[str, str], Gate] = field(default_factory=dict)
    account: str = "acct-1"
    running: Counter[str] = field(default_factory=Counter)
    peak: Counter[str] = field(default_factory=Counter)
    hidden: set[str] = field(default_factory=set)
    """Names that `find` does not see yet."""
    outputs_seen: dict[str, Any] = field(default_factory=dict)
    died: bool = False
    countdown: int | None = None
    events: list[Event] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # Scripting

    def fail(self, op: str, id: str, error: BaseException, *, after: bool = False, times: int = 1) -> None:
        """Let the next calls of `op` for the resource `id` fail."""
        self.faults.setdefault((op, id), []).append(Fault(error, after, times))

    def hold(self, op: str, id: str) -> Gate:
        """Keep calls of `op` for `id` open until the gate is opened."""
        return self.gates.setdefault((op, id), Gate())

    def stranger(self, name: str, kind: str = "t::Named", **props: Any) -> Held:
        """Put somebody else's object there."""
        return self.make(name, kind, {"name": name, **props}, "")

    def make(self, name: str, kind: str, props: dict[str, Any], fqn: str) -> Held:
        """Make an object."""
        made = Held(f"id-{next(self._ids)}", name, kind, props, fqn)
        self.objects[made.id] = made
        return made

    # Looking

    def ops(self, *only: str) -> list[str]:
        """Give the calls so far, such as `create a`; with `only`, those of these operations."""
        return [str(call) for call in self.calls if not only or call.op in only]

    def changes(self) -> list[str]:
        """Give the calls that change something."""
        return self.ops("create", "update", "delete")

    def forget(self) -> None:
        """Start a new list of calls and events."""
        self.calls.clear()
        self.events.clear()
        self.peak.clear()

    def named(self, name: str) -> Held | None:
        """Look an object up by its name."""
        return next((made for made in self.objects.values() if made.name == name), None)

    def of(self, id: str) -> list[Held]:
        """Give the objects made for a resource (by the last part of its FQN)."""
        return [made for made in self.objects.values() if made.fqn.rpartition("/")[2] == id]

    def outcomes(self) -> dict[str, str]:
        """Give how each resource ended, by the end of its FQN; old generations left out."""
        ended = (event for event in self.events if isinstance(event, ResourceFinished))
        return {e.fqn.removeprefix("app/dev/"): e.outcome for e in ended if not e.old}

    # Dying

    def tick(self, *, effect: Callable[[], Any] | None = None) -> Any:
        """Count an instant at which a process may die: before `effect` when it is an even one, after it when odd."""
        if self.died:
            raise Killed
        if self.countdown is None:
            return effect() if effect else None
        if self.countdown == 0:
            self.died = True
            raise Killed
        result = effect() if effect else None
        if self.countdown == 1:
            self.died = True
            raise Killed
        self.countdown -= 2
        return result

    async def call(self, op: str, ctx: Context[Any], effect: Callable[[], Any]) -> Any:
        """Run one call of a handler, as scripted."""
        self.calls.append(Call(op, ctx.fqn, ctx.name))
        self.running["all"] += 1
        self.running[op] += 1
        self.peak["all"] = max(self.peak["all"], self.running["all"])
        self.peak[op] = max(self.peak[op], self.running[op])
        try:
            gate = self.gates.get((op, ctx.id))
            if gate is not None:
                gate.entered.set()
                await gate.opened.wait()
            else:
                await asyncio.sleep(0)
            fault = self._fault(op, ctx.id)
            if fault is not None and not fault.after:
                raise fault.error
            result = self.tick(effect=effect)
            if fault is not None:
                raise fault.error
            await asyncio.sleep(0)
            return result
        finally:
            self.running["all"] -= 1
            self.running[op] -= 1

    def _fault(self, op: str, id: str) -> Fault | None:
        waiting = self.faults.get((op, id), [])
        if not waiting:
            return None
        fault = waiting[0]
        fault.times -= 1
        if fault.times <= 0:
            waiting.pop(0)
        return fault


cloud = Cloud()


def reset() -> Cloud:
    """Empty the cloud."""
    cloud.__dict__.update(Cloud().__dict__)
    return cloud


def hear(event: Event) -> None:
    """Take note of an event."""
    cloud.events.append(event)


def lost(message: str = "the answer was lost", *, retryable: bool = False) -> ProviderError:
    """An error after which nobody knows whether the call took effect."""
    return ProviderError(message, ambiguous=True, retryable=retryable)


def refused(message: str = "no") -> ProviderError:
    """An error after which nothing happened."""
    return ProviderError(message, code=403)


def busy(retry_after: float | None = None) -> ProviderError:
    """An error that may pass."""
    return ProviderError("busy", retryable=True, retry_after=retry_after)


# Kinds


class Thing(Resource, kind="t::Thing", provider=f"{MODULE}:ThingProvider"):
    """An object that the engine names."""

    size: int = 1
    shape: str = prop(default="round", replace=True)
    needs: Any = None
    tags: Mapping[str, Any] = prop(default_factory=dict)
    token: Secret[str] | str | None = None
    object_id: str = output()
    version: int = output()


class Named(Resource, kind="t::Named", provider=f"{MODULE}:NamedProvider"):
    """An object whose name the program may choose."""

    name: str | None = prop(default=None, replace=True)
    size: int = 1
    shape: str = prop(default="round", replace=True)
    needs: Any = None
    object_id: str = output()


class Manual(Resource, kind="t::Manual", provider=f"{MODULE}:ManualProvider"):
    """An object that cannot be looked for."""

    size: int = 1
    shape: str = prop(default="round", replace=True)
    object_id: str = output()


class Again(Resource, kind="t::Again", provider=f"{MODULE}:AgainProvider"):
    """An object that may be created twice without harm, at a path, and that nobody looks for."""

    path: str = prop(replace=True)
    size: int = 1
    object_id: str = output()


class Token(Resource, kind="t::Token", provider=f"{MODULE}:TokenProvider"):
    """An object found by the token it was created with."""

    size: int = 1
    object_id: str = output()


class Fixed(Resource, kind="t::Fixed", provider=f"{MODULE}:FixedProvider"):
    """An object that cannot be updated, only replaced."""

    shape: str = prop(default="round", replace=True)
    object_id: str = output()


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


class Slow(Resource, kind="t::Slow", provider=f"{MODULE}:SlowProvider"):
    """An object made in two steps, with a checkpoint between; only its id finds it again."""

    size: int = 1
    object_id: str = output()
    ready: bool = output()


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


def _kept(want: Resource) -> dict[str, Any]:
    return {name: getattr(want, name, None) for name in want._spec.inputs}


class CloudProvider(Provider[Any]):
    """The handlers that most of them share."""

    naming: ClassVar[Naming | None] = Naming(max=60)
    recover: ClassVar[Recover] = "name"

    async def target(self, ctx: Context[Any]) -> str:
        """Say which account it is."""
        return cloud.account

    def outputs(self, made: Held) -> dict[str, Any]:
        """Give the outputs of an object."""
        return {"object_id": made.id}

    def seen(self, ctx: Context[Any], made: Held) -> Any:
        """Give an object as it is."""
        known = {key: value for key, value in made.props.items() if key in ctx.want._spec.inputs}
        return ctx.result(**known, **self.outputs(made))

    def look(self, ctx: Context[Any]) -> Held | None:
        """Find it by its name."""
        if ctx.name in cloud.hidden:
            return None
        kind = type(ctx.want)._kind
        return next((made for made in cloud.objects.values() if made.name == ctx.name and made.kind == kind), None)

    async def find(self, ctx: Context[Any], want: Any) -> Any:
        """Find it."""
        found = await cloud.call("find", ctx, lambda: self.look(ctx))
        return None if found is None else self.seen(ctx, found)

    async def create(self, ctx: Context[Any], want: Any) -> Any:
        """Create it; a name is taken only once."""

        def effect() -> Held:
            kind = type(want)._kind or ""
            if ctx.name and any(o.name == ctx.name and o.kind == kind for o in cloud.objects.values()):
                raise AlreadyExists(f"{ctx.name} is taken")
            return cloud.make(ctx.name, kind, _kept(want), ctx.fqn)

        made = await cloud.call("create", ctx, effect)
        return ctx.result(**self.outputs(made))

    async def update(self, ctx: Context[Any], want: Any, have: Any) -> Any:
        """Update it; the shape and the name never change in place."""

        def effect() -> Held:
            made = cloud.objects.get(have.object_id)
            if made is None:
                raise Gone(f"{have.object_id} is gone")
            fresh = _kept(want)
            for name, spec in want._spec.inputs.items():
                if spec.replace:
                    assert made.props.get(name) == fresh[name], f"{ctx.fqn}: {name} was changed in place"
            made.props, made.fqn = fresh, ctx.fqn
            return made

        made = await cloud.call("update", ctx, effect)
        return ctx.result(**self.outputs(made))

    async def delete(self, ctx: Context[Any], have: Any) -> None:
        """Delete it; gone already is fine."""
        await cloud.call("delete", ctx, lambda: cloud.objects.pop(have.object_id, None))


class ThingProvider(CloudProvider, Provider[Thing]):
    """Handles `Thing`, whose version counts its updates."""

    def outputs(self, made: Held) -> dict[str, Any]:
        return {"object_id": made.id, "version": made.props.get("size", 0)}


class NamedProvider(CloudProvider, Provider[Named]):
    """Handles `Named`."""


class ManualProvider(CloudProvider, Provider[Manual]):
    """Handles `Manual`."""

    naming = None
    recover = "none"

    async def find(self, ctx: Context[Any], want: Any) -> Any:
        raise NotImplementedError


class AgainProvider(Provider[Again]):
    """Handles `Again`: whatever is at its path is overwritten, and removed by path."""

    recover = "again"
    name_input = "path"

    async def create(self, ctx: Context[Again], want: Again) -> Again:
        def effect() -> Held:
            made = cloud.named(want.path) or cloud.make(want.path, "t::Again", {}, ctx.fqn)
            made.props = _kept(want)
            return made

        return ctx.result(object_id=(await cloud.call("create", ctx, effect)).id)

    async def update(self, ctx: Context[Again], want: Again, have: Again) -> Again:
        return await self.create(ctx, want)

    async def delete(self, ctx: Context[Again], have: Again) -> None:
        def effect() -> None:
            made = cloud.named(have.path)
            if made is not None:
                del cloud.objects[made.id]

        await cloud.call("delete", ctx, effect)


class TokenProvider(CloudProvider, Provider[Token]):
    """Handles `Token`."""

    recover = "token"


class FixedProvider(Provider[Fixed]):
    """Handles `Fixed`: no update."""

    naming = Naming(max=60)
    recover = "name"
    find = CloudProvider.find
    create = CloudProvider.create
    delete = CloudProvider.delete
    look = CloudProvider.look
    seen = CloudProvider.seen
    outputs = CloudProvider.outputs


class VaultProvider(CloudProvider, Provider[Vault]):
    """Handles `Vault`."""

    def outputs(self, made: Held) -> dict[str, Any]:
        cloud.outputs_seen["password"] = made.props["password"]
        return {"key": Secret("s3cret-key"), "pin": "pin-1234"}

    async def update(self, ctx: Context[Any], want: Any, have: Any) -> Any:
        def effect() -> Held:
            made = self.look(ctx)
            assert made is not None
            made.props = _kept(want)
            return made

        return ctx.result(**self.outputs(await cloud.call("update", ctx, effect)))

    async def delete(self, ctx: Context[Any], have: Any) -> None:
        def effect() -> None:
            made = self.look(ctx)
            if made is not None:
                del cloud.objects[made.id]

        await cloud.call("delete", ctx, effect)


class NeedyProvider(CloudProvider, Provider[Needy]):
    """Handles `Needy`."""

    async def delete(self, ctx: Context[Any], have: Any) -> None:
        assert have.token.reveal() == "needed"
        await super().delete(ctx, have)


class SlowProvider(CloudProvider, Provider[Slow]):
    """Handles `Slow`."""

    naming = None
    recover = "none"

    def outputs(self, made: Held) -> dict[str, Any]:
        return {"object_id": made.id, "ready": made.props.get("ready", False)}

    async def create(self, ctx: Context[Any], want: Any) -> Any:
        made = await cloud.call("create", ctx, lambda: cloud.make("", "t::Slow", _kept(want), ctx.fqn))
        await ctx.checkpoint(object_id=made.id)
        await cloud.call("finish", ctx, lambda: made.props.update(ready=True))
        return ctx.result(**self.outputs(made))

    async def read(self, ctx: Context[Any], have: Any) -> Any:
        made = await cloud.call("read", ctx, lambda: cloud.objects.get(have.object_id))
        return None if made is None else self.seen(ctx, made)

    async def update(self, ctx: Context[Any], want: Any, have: Any) -> Any:
        def effect() -> Held:
            made = cloud.objects[have.object_id]
            made.props = {**_kept(want), "ready": True}
            return made

        return ctx.result(**self.outputs(await cloud.call("update", ctx, effect)))


class MarkedProvider(CloudProvider, Provider[Marked]):
    """Handles `Marked`."""


# A store that counts, and that dies with the process


class Store(MemoryStore):
    """The store in memory, with its writes counted; it dies with the cloud's process."""

    def __init__(self, memory: Any = None) -> None:
        super().__init__(memory)
        self.writes: list[str] = []

    def set(self, lease: Lease, *records: Record, drop: Sequence[str] = ()) -> Awaitable[None]:
        self.writes += [f"{record.status} {record.fqn}" for record in records] + [f"drop {fqn}" for fqn in drop]
        done: Awaitable[None] = cloud.tick(effect=lambda: super(Store, self).set(lease, *records, drop=drop))
        return done

    def delete(self, lease: Lease, *fqns: str) -> Awaitable[None]:
        self.writes += [f"drop {fqn}" for fqn in fqns]
        done: Awaitable[None] = cloud.tick(effect=lambda: super(Store, self).delete(lease, *fqns))
        return done

    async def fold(self, lease: Lease) -> None:
        if cloud.died:
            raise Killed
        await super().fold(lease)

    async def append_log(self, unit: str, name: str, lines: bytes) -> None:
        """A dead process writes no log either, and nobody here reads it."""

    def after_death(self) -> Store:
        """Give what the next process finds."""
        for unit in self.memory.units.values():
            unit.lease = None
        cloud.died, cloud.countdown = False, None
        return Store(self.memory)

    def records(self) -> dict[str, Record]:
        """Give the resources' records, by the end of their FQN."""
        found = self.memory.records("")
        return {fqn.removeprefix("app/dev/"): record for fqn, record in found.items() if not record.is_scope}

    def raw(self) -> bytes:
        """Give all that is stored, as bytes."""
        return b"\n".join(raw for unit in self.memory.units.values() for raw in unit.records.values())


Program = Callable[[Any], Awaitable[Any]]


async def deploy(program: Program, store: Store, **options: Any) -> Any:
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
    owners: Counter[str] = Counter()
    for record in store.records().values():
        outputs = [record.output, *(old.output for old in record.generations)]
        owners.update(output["object_id"] for output in outputs if "object_id" in output)
    ours = {made.id for made in cloud.objects.values() if made.fqn}
    assert set(owners) == ours, (owners, cloud.objects)
    assert all(count == 1 for count in owners.values()), owners
    assert all(record.is_stable for record in store.records().values()), store.records()


def inside(fqn: str, chain: str) -> bool:
    """Say whether a call's FQN lies in a scope of `app/dev`."""
    return is_within(fqn, f"app/dev/{chain}")


__all__ = [
    "Again",
    "Call",
    "Cloud",
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
