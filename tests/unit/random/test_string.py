"""`random.RandomString`, its handlers driven without an engine."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from alchemy.errors import DeclarationError
from alchemy.provider import Context
from alchemy.random import RandomString
from alchemy.random._string import RandomStringProvider
from alchemy.resource import make_detached
from alchemy.secret import Secret

pytestmark = pytest.mark.anyio
provider = RandomStringProvider()


def make(**values: Any) -> RandomString:
    made = make_detached(RandomString, id="it", fqn="app/prod/it", values=values)
    assert isinstance(made, RandomString)
    return made


def context(want: RandomString) -> Context[RandomString]:
    async def checkpoint(outputs: dict[str, Any]) -> None:
        raise AssertionError(outputs)

    async def shared(key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        raise AssertionError(key, make)

    return Context(
        want=want,
        app="app",
        stage="prod",
        name="",
        target="machine",
        adopt=False,
        force=False,
        local=False,
        data={},
        log=lambda message: None,
        checkpoint=checkpoint,
        shared=shared,
    )


async def create(**values: Any) -> str:
    want = make(**values)
    made = await provider.create(context(want), want)
    assert isinstance(made.value, Secret)
    return made.value.reveal()


@pytest.mark.parametrize(
    ("encoding", "characters"), [("hex", "[0-9a-f]"), ("base64url", "[A-Za-z0-9_-]"), ("alphanumeric", "[A-Za-z0-9]")]
)
@pytest.mark.parametrize("length", [1, 2, 3, 31, 32, 33, 4096])
async def test_length_and_characters(encoding: str, characters: str, length: int) -> None:
    """A string has as many characters as asked for, all of its encoding's, and a long one has each of them."""
    value = await create(length=length, encoding=encoding)
    assert re.fullmatch(f"{characters}{{{length}}}", value)
    if length == 4096:
        assert len(set(value)) == {"hex": 16, "base64url": 64, "alphanumeric": 62}[encoding]


async def test_value_is_not_shown() -> None:
    """The string does not show in what prints the resource."""
    want = make()
    made = await provider.create(context(want), want)
    assert made.value.reveal() not in f"{made!r}{made.__dict__}"


async def test_defaults() -> None:
    """Without inputs it is 32 hexadecimal digits, and never the same twice."""
    values = {await create() for _ in range(100)}
    assert len(values) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)


@pytest.mark.parametrize("length", [0, -1, 4097])
async def test_wrong_length(length: int) -> None:
    """A length that no string has, or that is too much, is an error that names the input and its bounds."""
    want = make(length=length)
    with pytest.raises(DeclarationError, match=rf"'length' of random::String 'it' is {length} \(give 1 to 4096"):
        await provider.create(context(want), want)


async def test_lives_in_state_only() -> None:
    """Read back it is as it is remembered, and deleting it does nothing."""
    have = make(value=Secret("abc"))
    assert await provider.read(context(have), have) is have
    await provider.delete(context(have), have)
