"""Secrets: never in clear in state, never under two passwords, and not needed to destroy."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.engine.test_lifecycle import errors_of
from tests.unit.engine.world import (
    Cloud,
    Needy,
    Options,
    Store,
    Thing,
    Vault,
    consistent,
    deploy,
    nothing,
    refused,
    things,
)

from alchemy import alchemy
from alchemy.errors import ConfigurationError
from alchemy.events import to_json
from alchemy.opening import destroy_unit
from alchemy.secret import Secret

pytestmark = pytest.mark.anyio

CLEAR = [b"hunter2", b"s3cret-key", b"pin-1234", b"tok-123", b"deep-1", b"kept-9"]


def vault(password: str = "hunter2", size: int = 1) -> Any:
    """Give a program with secrets everywhere."""

    async def program(app: Any) -> Any:
        made = await Vault("v", password=password, size=size)
        assert made.key.reveal() == "s3cret-key"
        assert made.pin == "pin-1234"
        thing = await Thing("t", token=Secret("tok-123"), tags={"deep": [Secret({"a": ["deep-1"]})], "no": "plain"})
        await Thing("u", needs=[made, thing])
        await app.set("kept", Secret("kept-9"))
        return made

    return program


async def test_nothing_in_clear(cloud: Cloud, store: Store) -> None:
    """Inputs, outputs, data and references: no record and no event shows a secret."""
    await deploy(vault(), store, password="pw")
    raw = store.raw()
    told = repr([to_json(event) for event in cloud.events]).encode()
    for clear in CLEAR:
        assert clear not in raw
        assert clear not in told
    assert b"plain" in raw


async def test_handlers_get_what_was_meant(cloud: Cloud, store: Store) -> None:
    """A plain-text field marked secret comes back as plain text, a `Secret` as a `Secret`."""
    await deploy(vault(), store, password="pw")
    assert cloud.outputs_seen["password"] == "hunter2"
    (thing,) = cloud.of("t")
    assert thing.props["token"] == Secret("tok-123")
    assert thing.props["tags"]["deep"][0].reveal() == {"a": ["deep-1"]}
    (user,) = cloud.of("u")
    assert user.props["needs"][0].pin == "pin-1234"


async def test_unchanged_secrets_are_not_written_again(cloud: Cloud, store: Store) -> None:
    """A second run keeps every envelope: no call, no write."""
    await deploy(vault(), store, password="pw")
    before = store.raw()
    cloud.forget()
    store.writes.clear()
    await deploy(vault(), store, password="pw")
    assert (cloud.calls, store.writes) == ([], [])
    assert store.raw() == before


async def test_an_update_keeps_the_envelopes_that_did_not_change(cloud: Cloud, store: Store) -> None:
    """Another input changed: the secret's envelope is the one it was."""
    await deploy(vault(), store, password="pw")
    before = store.records()["v"].props["password"]
    await deploy(vault(size=2), store, password="pw")
    assert store.records()["v"].props["password"] == before
    await deploy(vault("another"), store, password="pw")
    assert store.records()["v"].props["password"] != before
    assert cloud.outputs_seen["password"] == "another"


async def test_no_password_is_an_error_before_anything_is_created(cloud: Cloud, store: Store) -> None:
    """Also when the secret comes last in the program."""

    async def program(_app: Any) -> None:
        Thing("first")
        Vault("v")

    with pytest.raises(ConfigurationError, match=r"t::Vault 'v' holds a secret, and there is no password"):
        await deploy(program, store)
    with pytest.raises(ConfigurationError, match="there is no password"):
        await deploy(lambda _app: alchemy.secret("x"), store)  # type: ignore[arg-type,return-value]
    assert cloud.calls == []
    assert store.records() == {}


async def test_a_wrong_password_overwrites_nothing(cloud: Cloud, store: Store) -> None:
    """The secrets in state stay as they are, and none is added under another key."""
    await deploy(vault(), store, password="pw")
    before = {fqn: (record.props, record.output) for fqn, record in store.records().items()}
    cloud.forget()

    async def more(app: Any) -> None:
        Thing("new", token=Secret("tok-new"))
        await vault(size=2)(app)

    with pytest.raises(ExceptionGroup) as caught:
        await deploy(more, store, password="wrong")
    assert any("password is not the one" in text for text in errors_of(caught.value))
    assert cloud.changes() == []
    assert {fqn: (record.props, record.output) for fqn, record in store.records().items()} == before
    await deploy(vault(), store, password="pw")
    assert cloud.changes() == []


async def test_outputs_from_state_open_when_they_are_read(cloud: Cloud, store: Store) -> None:
    """A skipped resource's secrets are there for the program."""
    await deploy(vault(), store, password="pw")
    made = await deploy(vault(), store, password="pw")
    assert made.key.reveal() == "s3cret-key"
    assert "s3cret" not in repr(made)
    assert "hunter2" not in repr(made)
    assert "pin-1234" not in repr(made)


async def test_destroy_needs_no_password(cloud: Cloud, store: Store) -> None:
    """State alone is enough, and the secret is not opened."""
    await deploy(vault(), store, password="pw")
    await destroy_unit("app/dev", state_store=store)
    assert cloud.objects == {}
    assert store.memory.records("") == {}


async def test_orphans_need_no_password_either(cloud: Cloud, store: Store) -> None:
    """Nor does a deploy in which the secret's resource has left the program."""
    await deploy(vault(), store, password="pw")
    await deploy(nothing, store)
    assert cloud.objects == {}


async def test_a_delete_that_needs_its_secret_says_so(cloud: Cloud, store: Store) -> None:
    """Without the password: an error, and the record stays; with it the delete succeeds."""

    async def program(_app: Any) -> None:
        await Needy("n", token=Secret("needed"))
        await Thing("other")

    await deploy(program, store, password="pw")
    with pytest.raises(ExceptionGroup) as caught:
        await destroy_unit("app/dev", state_store=store)
    assert "a secret of app/dev/n is needed" in errors_of(caught.value)[0]
    assert "ALCHEMY_PASSWORD" in str(caught.value.exceptions[0])
    assert list(store.records()) == ["n"]
    assert store.records()["n"].status == "deleting"
    await destroy_unit("app/dev", state_store=store, password="pw")
    assert cloud.objects == {}


async def test_a_nested_password(cloud: Cloud, store: Store) -> None:
    """A nested scope may have a password of its own; both are needed, and neither opens the other's."""

    def program(full: bool, inner: str = "pw-2") -> Any:
        async def body(_app: Any) -> None:
            Thing("outer", token=Secret("tok-123"))
            async with alchemy.run("inner", password=inner):
                Thing("stays", token=Secret("deep-1"))
                if full:
                    Needy("n", token=Secret("needed"))

        return body

    await deploy(program(True), store, password="pw-1")
    cloud.forget()
    store.writes.clear()
    await deploy(program(True), store, password="pw-1")
    assert (cloud.calls, store.writes) == ([], [])
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(program(True, "pw-1"), store, password="pw-1")
    assert "password is not the one" in errors_of(caught.value)[0]
    await deploy(program(False), store, password="pw-1")  # the orphan's delete opens its secret with the scope's own
    assert cloud.changes() == ["delete inner/n"]
    consistent(store)


async def test_secrets_follow_a_renamed_resource(cloud: Cloud, store: Store) -> None:
    """Bound to the record they lie in: a rename seals them anew, those of old generations too."""

    def before(shape: str) -> Any:
        async def body(_app: Any) -> None:
            Thing("a", shape=shape, token=Secret("tok-123"))

        return body

    async def after(_app: Any) -> None:
        Thing("z", shape="square", token=Secret("tok-123"), options=Options(aliases=["a"]))

    await deploy(before("round"), store, password="pw")
    cloud.fail("delete", "a", refused())
    with pytest.raises(ExceptionGroup):
        await deploy(before("square"), store, password="pw")
    cloud.forget()
    await deploy(after, store, password="pw")
    assert cloud.changes() == ["delete z"]
    cloud.forget()
    store.writes.clear()
    await deploy(after, store, password="pw")
    assert (cloud.calls, store.writes) == ([], [])
    assert b"tok-123" not in store.raw()


async def test_a_secret_that_is_falsy_is_a_secret(cloud: Cloud, store: Store) -> None:
    """An empty text in a field marked secret is encrypted like any other."""
    await deploy(vault(""), store, password="pw")
    assert "@secret" in store.records()["v"].props["password"]
    cloud.forget()
    await deploy(vault(""), store, password="pw")
    assert cloud.calls == []


async def test_persisted_secrets(cloud: Cloud, store: Store) -> None:
    """`scope.set` of a secret: encrypted, and a secret again when read."""

    async def write(app: Any) -> None:
        Thing("t")
        await app.set("k", {"a": Secret("kept-9"), "b": 1})

    async def read(app: Any) -> Any:
        Thing("t")
        return await app.get("k")

    await deploy(write, store, password="pw")
    got = await deploy(read, store, password="pw")
    assert got["a"].reveal() == "kept-9"
    assert got["b"] == 1
    assert b"kept-9" not in store.raw()
    with pytest.raises(ConfigurationError, match="no password"):
        await deploy(write, Store())


async def test_failures_do_not_show_secrets(cloud: Cloud, store: Store) -> None:
    """A failing resource with secrets is named without them."""
    cloud.fail("create", "v", refused())
    with pytest.raises(ExceptionGroup) as caught:
        await deploy(vault(), store, password="pw-secret")
    told = repr(caught.value) + repr([to_json(event) for event in cloud.events])
    assert "hunter2" not in told
    assert "pw-secret" not in told
    await deploy(things(x=1), store)


async def test_one_secret_in_two_places_is_unchanged_by_the_next_run(cloud: Cloud, store: Store) -> None:
    """Each run has the same envelope for it, wherever it stands: in two inputs, or in a resource that is passed in."""

    async def program(_app: Any) -> None:
        first = await Thing("a", token=Secret("tok-123"), tags={"one": Secret("tok-123"), "two": Secret("deep-1")})
        await Thing("b", token=Secret("tok-123"), needs=first)

    await deploy(program, store, password="pw")
    cloud.forget()
    store.writes.clear()
    await deploy(program, store, password="pw")
    assert (cloud.ops(), store.writes) == ([], [])
