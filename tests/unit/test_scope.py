"""What a scope can do: names, persisted data, deferred work, exports."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.engine.world import Cloud, Pair, Store, Thing, deploy, nothing, refused, things

from alchemy import Naming, Scope, alchemy
from alchemy.errors import ConfigurationError, DeclarationError
from alchemy.events import RunFinished
from alchemy.secret import Secret

pytestmark = pytest.mark.anyio


async def test_names_of_scopes(cloud: Cloud, store: Store) -> None:
    """Chains, FQNs, kinds, and the current scope."""
    seen: dict[str, Any] = {}

    class Look(Pair, kind="t::Look"):
        """A composite that looks around."""

        async def declare(self) -> dict[str, Any]:
            seen["resource"] = (Scope.current.kind, Scope.current.chain)
            return {"ids": []}

    async def program(app: Scope) -> None:
        assert Scope.current is app
        assert (app.kind, app.name, app.chain, app.stage, app.app) == ("stage", "dev", "app/dev", "dev", "app")
        assert app.parent is not None
        assert (app.parent.kind, app.parent.chain) == ("app", "app")
        async with alchemy.run("db") as inner:
            assert Scope.current is inner
            assert (inner.kind, inner.name, inner.fqn, inner.stage) == ("nested", "db", "app/dev/db", "dev")
            assert inner.root is app
            thing = Thing("x")
            assert thing.fqn == "app/dev/db/x"
            assert inner.has_resource("x")
            assert not app.has_resource("x")
        assert Scope.current is app
        await Look("look")
        elsewhere = Thing("y", scope=app)
        assert elsewhere.fqn == "app/dev/y"

    await deploy(program, store)
    assert seen["resource"] == ("resource", "app/dev/look")
    with pytest.raises(DeclarationError, match="not inside a scope"):
        _ = Scope.current


async def test_a_scope_named_like_the_application_is_no_root(cloud: Cloud, store: Store) -> None:
    """Scopes are told apart by where they are, not by name: its replacements wait for the end like others."""

    def program(shape: str) -> Any:
        async def body(_app: Any) -> None:
            async with alchemy.run("app"):
                a = await Thing("a", shape=shape)
            Thing("user", tags={"a": a.object_id})

        return body

    await deploy(program("round"), store)
    cloud.forget()
    await deploy(program("square"), store)
    assert cloud.changes() == ["create app/a", "update user", "delete app/a"]


async def test_physical_names(cloud: Cloud, store: Store) -> None:
    """Stable in an application, of the asked form, and unlike another copy's."""

    async def program(app: Scope) -> list[str]:
        return [
            app.physical_name("cache"),
            app.physical_name("cache", kind="x"),
            app.physical_name("cache", naming=Naming(max=20, separator="_", allowed="a-z0-9_")),
        ]

    first, again, other = [await deploy(program, s) for s in (store, store, Store())]
    assert first == again
    assert not set(first) & set(other)
    assert len(set(first)) == 3
    assert len(first[2]) <= 20
    assert "-" not in first[2]


async def test_persisted_data(cloud: Cloud, store: Store) -> None:
    """`set` is durable and kept between runs; `delete` forgets; each scope has its own."""
    got: list[Any] = []

    async def write(app: Scope) -> None:
        await Thing("t")
        await app.set("a", {"list": [1, (2,)], "when": None})
        await app.set("b", 1)
        assert await app.get("a") == {"list": [1, [2]], "when": None}
        async with alchemy.run("inner") as inner:
            assert await inner.get("b") in (None, 2)  # its own, not the one of the scope around it
            await inner.set("b", 2)

    async def read(app: Scope) -> None:
        await Thing("t")
        got.extend([await app.get("a"), await app.get("b"), await app.get("c", "default")])
        async with alchemy.run("inner") as inner:
            got.append(await inner.get("b"))
        await app.delete("b")
        await app.delete("never")
        got.append(await app.get("b"))

    await deploy(write, store)
    await deploy(read, store)
    assert got == [{"list": [1, [2]], "when": None}, 1, "default", 2, None]
    store.writes.clear()
    await deploy(write, store)
    await deploy(write, store)
    assert store.writes == ["created app/dev"]  # `b` once more, and nothing the second time


async def test_deferred_functions(cloud: Cloud, store: Store) -> None:
    """They run once, after all that was started succeeded and before orphans go; and give their result."""
    await deploy(things(orphan=1), store)
    cloud.forget()
    order: list[str] = []

    async def late() -> str:
        order.append("late")
        made = await Thing("late")
        return made.object_id

    async def program(app: Scope) -> None:
        results.append(app.defer(late))
        app.defer(lambda: order.append("plain"))
        async with alchemy.run("inner") as inner:
            inner.defer(lambda: order.append("inner"))
        Thing("first")

    results: list[Any] = []
    await deploy(program, store)
    assert order == ["inner", "late", "plain"]
    assert await results[0] == "id-3"
    assert cloud.changes() == ["create first", "create late", "delete orphan"]


async def test_a_deferred_function_that_fails(cloud: Cloud, store: Store) -> None:
    """Its error is the run's, and no orphan is destroyed."""
    await deploy(things(orphan=1), store)

    async def program(app: Scope) -> None:
        def fail() -> None:
            raise ValueError("late")

        app.defer(fail)

    with pytest.raises(ValueError, match="late"):
        await deploy(program, store)
    assert cloud.ops("delete") == []


async def test_deferred_functions_of_a_failed_scope_never_run(cloud: Cloud, store: Store) -> None:
    """And whoever waits for one is told, instead of waiting for ever."""
    cloud.fail("create", "bad", refused())
    ran: list[int] = []
    waiting: list[Any] = []

    async def program(app: Scope) -> None:
        waiting.append(app.defer(lambda: ran.append(1)))
        Thing("bad")

    with pytest.raises(ExceptionGroup):
        await deploy(program, store)
    assert ran == []
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


async def test_exports(cloud: Cloud, store: Store) -> None:
    """They are in the last event, with secrets masked; a nested scope exports for the whole."""

    async def program(app: Scope) -> None:
        made = await Thing("t")
        app.export(url="https://x", id=made.object_id, key=Secret("hunter2"))
        async with alchemy.run("inner") as inner:
            inner.export(more=[1])

    await deploy(program, store, password="pw")
    (finished,) = [event for event in cloud.events if isinstance(event, RunFinished)]
    assert finished.exports == {"url": "https://x", "id": "id-1", "key": "***", "more": [1]}
    assert finished.ok
    assert finished.counts == {"created": 1}


async def test_what_a_nested_scope_may_change(cloud: Cloud, store: Store) -> None:
    """Some options; others are an error that lists them."""

    async def program(_app: Any) -> None:
        async with alchemy.run("inner", adopt=True, destroy_strategy="parallel", quiet=None) as inner:
            assert inner.settings.adopt
            assert inner.settings.destroy_strategy == "parallel"
            assert inner.settings.quiet is False
            async with alchemy.run("deep") as deep:
                assert deep.settings.adopt
        run: Any = alchemy.run  # type checkers refuse both
        with pytest.raises(ConfigurationError, match="a nested scope cannot change 'stage'"):
            run("other", stage="x")
        with pytest.raises(ConfigurationError, match="there is no option 'adpot'"):
            run("another", adpot=True)

    await deploy(program, store)


async def test_functions_as_scopes(cloud: Cloud, store: Store) -> None:
    """With or without the scope as argument, plain or async; awaiting gives the result."""

    async def with_scope(scope: Scope) -> str:
        await Thing("x")
        return scope.chain

    async def program(_app: Any) -> None:
        assert await alchemy.run("one", with_scope) == "app/dev/one"
        assert await alchemy.run("two", lambda: asyncio.sleep(0, "plain")) == "plain"
        for name in ("a", "b"):
            alchemy.run(name, lambda name=name: Thing(name))
        with pytest.raises(DeclarationError, match="without a function cannot be awaited"):
            await alchemy.run("three")
        async with alchemy.run("four"):
            pass

    with pytest.raises(DeclarationError, match=r"alchemy.run\('three'\) in app/dev was never entered"):
        await deploy(program, store)
    assert sorted(store.records()) == ["a/a", "b/b", "one/x"]
    await deploy(nothing, store)
    assert cloud.objects == {}
