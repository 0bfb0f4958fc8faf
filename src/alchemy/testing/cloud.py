"""A cloud in memory, and a provider to be scripted: for tests of programs, of composites and of stores.

```python
from alchemy.testing.cloud import Cloud, use
from alchemy.testing.kinds import Thing

cloud = use(Cloud())
cloud.fail("create", "db", lost(), after=True)      # made, and the answer is lost
...                                                 # deploy a program that declares Thing("db")
assert cloud.ops() == ["create db", "find db"]      # the engine looked before it created again
```

A provider of your own joins in: derive it from `CloudProvider`, and say how its objects are called and found.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast

from alchemy.errors import AlreadyExists, Gone
from alchemy.names import Naming
from alchemy.provider import Context, Provider, Recover
from alchemy.resource import Resource
from alchemy.testing.faults import Begun, Faults, Gate, running_here

R = TypeVar("R", bound=Resource)
C = TypeVar("C", bound="Cloud")


@dataclass(eq=False)
class CloudObject:
    """One object of a cloud.

    Attributes:
        name: what it can be found by; `""` when nothing finds it but its id.
        props: the inputs that it was last made or updated with.
        fqn: the resource that it was made for; `""` for a stranger's.
        needs: the ids of the objects that its inputs name.
        unseen: how many more looks do not find it.
    """

    id: str
    name: str
    kind: str
    props: dict[str, Any]
    fqn: str
    needs: frozenset[str] = frozenset()
    unseen: int = 0


@dataclass(eq=False)
class Call:
    """One call of a handler that the cloud has seen; `process` is the name of the `Faults` it was made under."""

    op: str
    fqn: str
    name: str
    process: str = ""

    def __str__(self) -> str:
        return f"{self.op} {self.fqn.removeprefix('app/dev/')}"


@dataclass(eq=False)
class Misplaced:
    """An object that was deleted while others still needed it."""

    gone: CloudObject
    by: list[CloudObject]


@dataclass(eq=False)
class Cloud:
    """All that exists, and all that happened.

    Attributes:
        faults: the script of the process that calls it, unless that process says which one it is.
        lag: how many looks do not find an object that was just created.
        hidden: names that no look finds.
        account: what providers give as their target.
        running, peak: how many calls of each operation (and of `all`) run now, and did at most.
        misplaced: what was deleted before what needs it.
    """

    faults: Faults = field(default_factory=Faults)
    objects: dict[str, CloudObject] = field(default_factory=dict[str, CloudObject])
    calls: list[Call] = field(default_factory=list[Call])
    account: str = "acct-1"
    lag: int = 0
    hidden: set[str] = field(default_factory=set[str])
    running: Counter[str] = field(default_factory=Counter[str])
    peak: Counter[str] = field(default_factory=Counter[str])
    misplaced: list[Misplaced] = field(default_factory=list[Misplaced])
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _late: list[tuple[int, Callable[[], object]]] = field(default_factory=list[tuple[int, Callable[[], object]]])

    # Scripting

    def fail(self, op: str, id: str, error: BaseException, *, after: bool = False, times: int = 1) -> None:
        """Let the next calls of `op` for the resource `id` fail; with `after` they take effect all the same."""
        self.faults.fail(_pattern(op, id), error, after=after, times=times)

    def hold(self, op: str, id: str) -> Gate:
        """Keep calls of `op` for `id` open until the gate is opened."""
        return self.faults.hold(_pattern(op, id))

    def stranger(self, name: str, kind: str = "testing::Named", **props: Any) -> CloudObject:
        """Put somebody else's object there."""
        return self.make(name, kind, {"name": name, **props}, "")

    def make(self, name: str, kind: str, props: dict[str, Any], fqn: str) -> CloudObject:
        """Make an object, whatever is there already."""
        made = CloudObject(f"id-{next(self._ids)}", name, kind, props, fqn, self._needs(props), self.lag)
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
        """Start a new list of calls."""
        self.calls.clear()
        self.peak.clear()

    def named(self, name: str, kind: str | None = None) -> CloudObject | None:
        """Look an object up by its name."""
        return next((o for o in self.objects.values() if o.name == name and kind in (None, o.kind)), None)

    def of(self, id: str) -> list[CloudObject]:
        """Give the objects made for a resource (by the last part of its FQN)."""
        return [made for made in self.objects.values() if made.fqn.rpartition("/")[2] == id]

    @property
    def ours(self) -> list[CloudObject]:
        """Give the objects that were made for a resource."""
        return [made for made in self.objects.values() if made.fqn]

    def deliver(self) -> None:
        """Let all requests arrive now that are still on their way."""
        while self._late:
            self._arrive()

    # What providers do with it

    def look(self, name: str, kind: str) -> CloudObject | None:
        """Find an object as a listing does, which may lag behind."""
        found = self.named(name, kind)
        if found is not None and found.unseen > 0:
            found.unseen -= 1
            return None
        return None if name in self.hidden else found

    def update(self, id: str, props: dict[str, Any], fqn: str) -> CloudObject:
        """Give an object other inputs. Raises `Gone` when there is none."""
        made = self.objects.get(id)
        if made is None:
            raise Gone(f"{id} is gone")
        made.props, made.fqn, made.needs = props, fqn, self._needs(props)
        return made

    def remove(self, id: str) -> None:
        """Remove an object; one that is gone already is fine."""
        made = self.objects.pop(id, None)
        if made is not None:
            needing = [other for other in self.objects.values() if id in other.needs]
            if needing:
                self.misplaced.append(Misplaced(made, needing))

    async def call(self, op: str, ctx: Context[Any], effect: Callable[[], Any]) -> Any:
        """Run one call of a handler as scripted; `effect` is what it does to the cloud, and gives the answer."""
        faults = running_here() or self.faults
        self.calls.append(Call(op, ctx.fqn, ctx.name, faults.name))
        self._count(op, 1)
        try:
            return await self._play(faults, f"cloud.{op} {ctx.fqn}", effect)
        finally:
            self._count(op, -1)

    async def _play(self, faults: Faults, call: str, effect: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        await faults.stand(call)
        begun = faults.begin(call)
        self._arrive()
        await _pause(begun, after=False)
        faults.check()
        if begun.error_before is not None:
            if begun.fault is not None and begun.fault.late:
                self._late.append((begun.fault.late, effect))
            raise begun.error_before
        answer = self._take_effect(begun, effect)
        await _pause(begun, after=True)
        faults.end(begun)
        await asyncio.sleep(0)
        faults.check()
        return answer

    def _take_effect(self, begun: Begun, effect: Callable[[], Any]) -> Any:
        twice = begun.fault.twice if begun.fault is not None else None
        if twice is None:
            return effect()
        first = effect()
        try:
            second = effect()
        except AlreadyExists:
            if twice == "second":
                raise
            return first
        return second if twice == "second" else first

    def _arrive(self) -> None:
        """Let requests that were on their way arrive when it is their turn; their answers reach nobody."""
        waiting, self._late = self._late, []
        for left, effect in waiting:
            if left > 1:
                self._late.append((left - 1, effect))
            else:
                with contextlib.suppress(AlreadyExists, Gone):
                    effect()

    def _needs(self, props: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(id for id in _texts(props) if id in self.objects)

    def _count(self, op: str, change: int) -> None:
        for what in ("all", op):
            self.running[what] += change
            self.peak[what] = max(self.peak[what], self.running[what])


class CloudProvider(Provider[R]):
    """Handlers for objects of the cloud in use; derive yours as `class MyProvider(CloudProvider[My])`.

    The resource has an output `object_id`. Other outputs are for `outputs` to give.
    """

    naming: ClassVar[Naming | None] = Naming(max=60)
    recover: ClassVar[Recover] = "name"

    @property
    def cloud(self) -> Cloud:
        """The cloud in use."""
        return in_use()

    async def target(self, ctx: Context[R]) -> str:
        """Say which account it is."""
        return self.cloud.account

    def outputs(self, made: CloudObject) -> dict[str, Any]:
        """Give the outputs of an object."""
        return {"object_id": made.id}

    def look(self, ctx: Context[Any]) -> CloudObject | None:
        """Find it by its name."""
        return self.cloud.look(ctx.name, _kind(ctx.want))

    def seen(self, ctx: Context[Any], made: CloudObject) -> Any:
        """Give an object as it is."""
        known = {key: value for key, value in made.props.items() if key in ctx.want._spec.inputs}
        return ctx.result(**known, **self.outputs(made))

    async def find(self, ctx: Context[R], want: R) -> R | None:
        """Find it."""
        found = await self.cloud.call("find", ctx, lambda: self.look(ctx))
        return None if found is None else cast("R", self.seen(ctx, found))

    async def create(self, ctx: Context[R], want: R) -> R:
        """Create it; a name is taken only once."""

        def effect() -> CloudObject:
            if ctx.name and self.cloud.named(ctx.name, _kind(want)) is not None:
                raise AlreadyExists(f"{ctx.name} is taken")
            return self.cloud.make(ctx.name, _kind(want), kept(want), ctx.fqn)

        return ctx.result(**self.outputs(await self.cloud.call("create", ctx, effect)))

    async def update(self, ctx: Context[R], want: R, have: R) -> R:
        """Update it; what needs a replacement never changes in place."""

        def effect() -> CloudObject:
            fresh = kept(want)
            made = self.cloud.objects.get(_id(have))
            for name, spec in want._spec.inputs.items():
                if made is not None and spec.replace:
                    assert made.props.get(name) == fresh[name], f"{ctx.fqn}: {name} was changed in place"
            return self.cloud.update(_id(have), fresh, ctx.fqn)

        return ctx.result(**self.outputs(await self.cloud.call("update", ctx, effect)))

    async def delete(self, ctx: Context[R], have: R) -> None:
        """Delete it; gone already is fine."""
        await self.cloud.call("delete", ctx, lambda: self.cloud.remove(_id(have)))


def kept(want: Resource) -> dict[str, Any]:
    """Give the inputs of a resource as the cloud keeps them."""
    return {name: getattr(want, name, None) for name in want._spec.inputs}


_cloud = Cloud()


def use(cloud: C) -> C:
    """Let every `CloudProvider` work on this cloud from now on."""
    global _cloud  # noqa: PLW0603 - providers are made from their names in state: they can be given nothing
    _cloud = cloud
    return cloud


def in_use() -> Cloud:
    """Give the cloud that providers work on."""
    return _cloud


async def _pause(begun: Begun, *, after: bool) -> None:
    seconds = begun.seconds(after=after)
    if seconds:
        await asyncio.sleep(seconds)


def _pattern(op: str, id: str) -> str:
    return f"cloud.{op} *{glob.escape('/' + id)}"


def _kind(resource: Resource) -> str:
    return type(resource)._kind or ""


def _id(have: Resource) -> str:
    return cast("str", getattr(have, "object_id"))  # noqa: B009 - not every resource has one


def _texts(value: object) -> Iterator[str]:
    """Give every text in an input, and the object of every resource in it."""
    if isinstance(value, Resource):
        yield getattr(value, "object_id", "")
    elif isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in cast("Mapping[object, object]", value).values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in cast("list[object]", value):
            yield from _texts(part)
