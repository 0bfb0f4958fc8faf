"""Resources of the cloud in memory (`alchemy.testing.cloud`), one for each way in which an object is found again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alchemy.provider import Context, Provider
from alchemy.resource import Resource, output, prop
from alchemy.secret import Secret
from alchemy.testing.cloud import CloudObject, CloudProvider, in_use, kept


class Thing(Resource, kind="testing::Thing", provider=f"{__name__}:ThingProvider"):
    """An object that the engine names. Another `shape` replaces it, another `size` does not."""

    size: int = 1
    shape: str = prop(default="round", replace=True)
    needs: Any = None
    tags: Mapping[str, Any] = prop(default_factory=dict[str, Any])
    token: Secret[str] | str | None = None
    object_id: str = output()
    version: int = output()


class ThingProvider(CloudProvider[Thing]):
    """Handles `Thing`, whose version is its size."""

    def outputs(self, made: CloudObject) -> dict[str, Any]:
        return {"object_id": made.id, "version": made.props.get("size", 0)}


class Named(Resource, kind="testing::Named", provider=f"{__name__}:NamedProvider"):
    """An object whose name the program may choose."""

    name: str | None = prop(default=None, replace=True)
    size: int = 1
    shape: str = prop(default="round", replace=True)
    needs: Any = None
    object_id: str = output()


class NamedProvider(CloudProvider[Named]):
    """Handles `Named`."""


class Token(Resource, kind="testing::Token", provider=f"{__name__}:TokenProvider"):
    """An object found by the token it was created with."""

    size: int = 1
    object_id: str = output()


class TokenProvider(CloudProvider[Token]):
    """Handles `Token`."""

    recover = "token"


class Listed(Resource, kind="testing::Listed", provider=f"{__name__}:ListedProvider"):
    """An object found by its label in a list of all of them; the program labels it."""

    label: str = prop(replace=True)
    size: int = 1
    object_id: str = output()


class ListedProvider(CloudProvider[Listed]):
    """Handles `Listed`."""

    naming = None
    name_input = "label"
    recover = "list"

    async def find(self, ctx: Context[Listed], want: Listed) -> Listed | None:
        def effect() -> list[CloudObject]:
            found = [self.cloud.look(o.name, o.kind) for o in list(self.cloud.objects.values())]
            return [made for made in found if made is not None and made.kind == "testing::Listed"]

        every = await self.cloud.call("list", ctx, effect)
        return next((self.seen(ctx, made) for made in every if made.name == want.label), None)


class Fixed(Resource, kind="testing::Fixed", provider=f"{__name__}:FixedProvider"):
    """An object that cannot be updated, only replaced."""

    shape: str = prop(default="round", replace=True)
    object_id: str = output()


class FixedProvider(CloudProvider[Fixed]):
    """Handles `Fixed`: no update."""

    update = Provider[Fixed].update  # pyright: ignore[reportAssignmentType] - as if it were not overridden


class Again(Resource, kind="testing::Again", provider=f"{__name__}:AgainProvider"):
    """An object that may be created twice without harm, at a path, and that nobody looks for."""

    path: str = prop(replace=True)
    size: int = 1
    object_id: str = output()


class AgainProvider(Provider[Again]):
    """Handles `Again`: whatever is at its path is overwritten, and removed by path."""

    recover = "again"
    name_input = "path"

    async def create(self, ctx: Context[Again], want: Again) -> Again:
        cloud = in_use()

        def effect() -> CloudObject:
            made = cloud.named(want.path) or cloud.make(want.path, "testing::Again", {}, ctx.fqn)
            made.props = kept(want)
            return made

        return ctx.result(object_id=(await cloud.call("create", ctx, effect)).id)

    async def update(self, ctx: Context[Again], want: Again, have: Again) -> Again:
        return await self.create(ctx, want)

    async def delete(self, ctx: Context[Again], have: Again) -> None:
        cloud = in_use()

        def effect() -> None:
            made = cloud.named(have.path)
            if made is not None:
                cloud.remove(made.id)

        await cloud.call("delete", ctx, effect)


class Manual(Resource, kind="testing::Manual", provider=f"{__name__}:ManualProvider"):
    """An object that cannot be looked for: when its creation was cut short, a person must say what became of it."""

    size: int = 1
    shape: str = prop(default="round", replace=True)
    object_id: str = output()


class ManualProvider(CloudProvider[Manual]):
    """Handles `Manual`."""

    naming = None
    recover = "none"


class Slow(Resource, kind="testing::Slow", provider=f"{__name__}:SlowProvider"):
    """An object made in two steps, with a checkpoint between; only its id finds it again."""

    size: int = 1
    object_id: str = output()
    ready: bool = output()


class SlowProvider(CloudProvider[Slow]):
    """Handles `Slow`."""

    naming = None
    recover = "none"

    def outputs(self, made: CloudObject) -> dict[str, Any]:
        return {"object_id": made.id, "ready": made.props.get("ready", False)}

    async def create(self, ctx: Context[Slow], want: Slow) -> Slow:
        made = await self.cloud.call("create", ctx, lambda: self.cloud.make("", "testing::Slow", kept(want), ctx.fqn))
        await ctx.checkpoint(object_id=made.id)
        await self.cloud.call("finish", ctx, lambda: made.props.update(ready=True))
        return ctx.result(**self.outputs(made))

    async def read(self, ctx: Context[Slow], have: Slow) -> Slow | None:
        made = await self.cloud.call("read", ctx, lambda: self.cloud.objects.get(have.object_id))
        return None if made is None else self.seen(ctx, made)

    async def update(self, ctx: Context[Slow], want: Slow, have: Slow) -> Slow:
        def effect() -> CloudObject:
            return self.cloud.update(have.object_id, {**kept(want), "ready": True}, ctx.fqn)

        return ctx.result(**self.outputs(await self.cloud.call("update", ctx, effect)))
