"""KV namespaces, against the local Cloudflare."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from alchemy.clients.cloudflare import Cloudflare
from alchemy.cloudflare import kv_namespace
from alchemy.cloudflare.kv_namespace import KVNamespace, KVNamespaceProvider
from alchemy.errors import AlreadyExists, Gone

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]

Hand = Any
Declared = Callable[..., Any]


@pytest.fixture
def title() -> str:
    """A title of its own for each test."""
    return f"kv-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def namespace(hand: Callable[..., Hand], title: str) -> Hand:
    """What calls the provider's handlers."""
    return hand(KVNamespaceProvider(), title)


async def test_a_namespace_lives(namespace: Hand, declared: Declared, title: str) -> None:
    """Not found, created, found by title, read by id, deleted, gone; deleting what is gone is success."""
    want = declared(KVNamespace, "kv")
    assert await namespace.find(want) is None
    have = await namespace.create(want)
    assert have.namespace_title == title
    assert (await namespace.find(want)).namespace_id == have.namespace_id
    assert (await namespace.read(have)).namespace_title == title
    await namespace.delete(have)
    assert await namespace.read(have) is None
    await namespace.delete(have)


async def test_another_title_renames_it(namespace: Hand, declared: Declared, title: str, api: Cloudflare) -> None:
    """An update keeps the id, and what it holds."""
    have = await namespace.create(declared(KVNamespace, "kv"))
    values = api.sdk.kv.namespaces.values
    await values.update("key", account_id=api.account_id, namespace_id=have.namespace_id, value=b"kept")
    namespace.name = f"{title}-renamed"
    renamed = await namespace.update(declared(KVNamespace, "kv", title=namespace.name), have)
    assert (renamed.namespace_id, renamed.namespace_title) == (have.namespace_id, namespace.name)
    assert (await namespace.read(renamed)).title == namespace.name
    held = await values.get("key", account_id=api.account_id, namespace_id=have.namespace_id)
    assert await held.read() == b"kept"


async def test_a_title_is_searched_on_every_page(
    namespace: Hand, hand: Callable[..., Hand], declared: Declared, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two a page, the last of five is found, and one that does not exist is not."""
    monkeypatch.setattr(kv_namespace, "_PER_PAGE", 2)
    for number in range(4):
        await hand(KVNamespaceProvider(), f"{title}-{number}").create(declared(KVNamespace, str(number)))
    have = await namespace.create(declared(KVNamespace, "kv"))
    assert (await namespace.find(declared(KVNamespace, "kv"))).namespace_id == have.namespace_id
    assert await hand(KVNamespaceProvider(), f"{title}-none").find(declared(KVNamespace, "kv")) is None


async def test_a_title_that_is_taken_is_refused(
    namespace: Hand, hand: Callable[..., Hand], declared: Declared, title: str
) -> None:
    """Creating it again, or renaming another to it, is `AlreadyExists` with Cloudflare's code."""
    await namespace.create(declared(KVNamespace, "kv"))
    with pytest.raises(AlreadyExists) as caught:
        await namespace.create(declared(KVNamespace, "kv"))
    assert caught.value.code == 10014
    other = hand(KVNamespaceProvider(), f"{title}-other")
    have = await other.create(declared(KVNamespace, "other"))
    other.name = title
    with pytest.raises(AlreadyExists):
        await other.update(declared(KVNamespace, "other", title=title), have)


async def test_renaming_what_is_gone_says_so(namespace: Hand, declared: Declared) -> None:
    """An update of a deleted namespace is `Gone`, so that the engine creates it anew."""
    have = await namespace.create(declared(KVNamespace, "kv"))
    await namespace.delete(have)
    with pytest.raises(Gone):
        await namespace.update(declared(KVNamespace, "kv"), have)
