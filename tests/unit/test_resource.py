"""Declaring: every mistake is an error that names field and resource, before anything is started."""

from __future__ import annotations

import copy
import importlib
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.unit.engine.world import Cloud, Named, Store, Thing, Vault, deploy, nothing

from alchemy import Options, Provider, Resource, Secret, alchemy, output, prop
from alchemy.errors import DeclarationError, NotAwaitedError
from alchemy.resource import detached

pytestmark = pytest.mark.anyio


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Rule:
    """A value object that may hold resources."""

    port: int
    target: Any = None
    tags: list[str] = field(default_factory=list)


class Typed(Resource, kind="t::Typed", provider="alchemy.testing.kinds:ThingProvider"):
    """A kind with an input of each type."""

    name: str
    count: int = 1
    ratio: float = 0.5
    on: bool = False
    mode: Literal["a", "b"] = "a"
    colour: Colour = Colour.RED
    path: Path | None = None
    words: Sequence[str] = ()
    env: Mapping[str, str | Thing] = prop(default_factory=dict)
    pair: tuple[int, str] = (1, "x")
    rules: Sequence[Rule] = ()
    key: Secret[str] | None = None
    object_id: str = output()
    version: int = output()


async def declaring(store: Store, make: Any) -> str:
    """Give the message of the DeclarationError that `make` raises inside a scope."""
    caught: list[str] = []

    async def program(_app: Any) -> None:
        with pytest.raises(DeclarationError) as error:
            make()
        caught.append(str(error.value))

    await deploy(program, store, password="pw")
    return caught[0]


wrong: Any = Typed
options: Any = Options

MISTAKES = [
    (lambda: wrong("x"), "t::Typed 'x' needs the input 'name' (str)"),
    (lambda: wrong("x", nmae="n"), "t::Typed 'x' has no input 'nmae' (did you mean 'name'?)"),
    (lambda: wrong("x", name="n", cuont=2), "t::Typed 'x' has no input 'cuont' (did you mean 'count'?)"),
    (lambda: wrong("x", name="n", object_id="i"), "'object_id' is an output of t::Typed 'x'"),
    (lambda: wrong("x", name=3), "'name' of t::Typed 'x' must be str, not int 3"),
    (lambda: wrong("x", name="n", count="2"), "'count' of t::Typed 'x' must be int, not str '2'"),
    (lambda: wrong("x", name="n", count=True), "'count' of t::Typed 'x' must be int, not bool"),
    (lambda: wrong("x", name="n", on=1), "'on' of t::Typed 'x' must be bool"),
    (lambda: wrong("x", name="n", ratio="much"), "'ratio' of t::Typed 'x' must be float"),
    (lambda: wrong("x", name="n", mode="c"), "'mode' of t::Typed 'x' must be Literal['a', 'b'], not str 'c'"),
    (lambda: wrong("x", name="n", colour="red"), "'colour' of t::Typed 'x' must be Colour"),
    (lambda: wrong("x", name="n", words="abc"), "'words' of t::Typed 'x' must be Sequence[str], not str 'abc'"),
    (lambda: wrong("x", name="n", words=["a", 1]), "'words' of t::Typed 'x' must be Sequence[str]"),
    (lambda: wrong("x", name="n", env={"A": 1}), "'env' of t::Typed 'x' must be"),
    (lambda: wrong("x", name="n", pair=(1, 2)), "'pair' of t::Typed 'x' must be tuple[int, str]"),
    (lambda: wrong("x", name="n", key="plain"), "'key' of t::Typed 'x' must be"),
    (lambda: wrong("x", "n"), "Typed('x', …) takes its id and nothing else by position"),
    (lambda: wrong(name="n"), "Typed(…) needs an id"),
    (lambda: wrong("", name="n"), "cannot be a t::Typed id: it is empty"),
    (lambda: wrong("a/b", name="n"), "'a/b' cannot be a t::Typed id: it contains '/'"),
    (lambda: wrong("a\\b", name="n"), "it contains"),
    (lambda: wrong("a:b", name="n"), "it contains ':'"),
    (lambda: wrong("a\nb", name="n"), "control character"),
    (lambda: wrong("..", name="n"), "it would mean a folder"),
    (lambda: wrong("x" * 129, name="n"), "it has 129 characters, more than 128"),
    (lambda: wrong(7, name="n"), "a t::Typed id must be text, not int"),
    (lambda: wrong("x", name="n", options={"adopt": True}), "options must be Options(…), not dict"),
    (lambda: options(aliases="old"), "the option 'aliases' takes a sequence"),
    (lambda: options(depends_on=["a"]), "depends_on holds a str, not a resource"),
    (lambda: alchemy.run("a/b"), "'a/b' cannot be a scope name"),
    (lambda: alchemy("app/x"), "it contains '/'"),
    (lambda: alchemy("locks"), "'locks' cannot be an application name"),
    (lambda: alchemy("local"), "'local' cannot be an application name"),
    (lambda: alchemy("app", stage="test"), "'test' cannot be a stage name"),
]


@pytest.mark.parametrize(("make", "message"), MISTAKES)
async def test_a_mistake_is_named(cloud: Cloud, store: Store, make: Any, message: str) -> None:
    """Unknown, missing and mistyped inputs, ids and names that cannot be: what is wrong, of what."""
    assert message in await declaring(store, make)
    assert cloud.calls == []


async def test_an_id_is_used_once(cloud: Cloud, store: Store) -> None:
    """The same id twice, another kind under it, and a scope of that name: errors that name both."""

    async def program(_app: Any) -> None:
        Thing("x")
        with pytest.raises(
            DeclarationError, match="testing::Thing 'x' is declared twice in app/dev: first as testing::Thing"
        ):
            Thing("x")
        with pytest.raises(
            DeclarationError, match="testing::Named 'x' is declared twice in app/dev: first as testing::Thing"
        ):
            Named("x")
        with pytest.raises(
            DeclarationError, match="the scope 'x' is declared twice in app/dev: first as testing::Thing"
        ):
            alchemy.run("x")
        async with alchemy.run("s"):
            Thing("x")
        with pytest.raises(DeclarationError, match="a nested scope has that name"):
            Thing("s")
        with pytest.raises(DeclarationError, match="the scope 's' is opened twice in app/dev"):
            alchemy.run("s")

    await deploy(program, store)
    assert sorted(store.records()) == ["s/x", "x"]


async def test_a_mistake_leaves_the_id_free(cloud: Cloud, store: Store) -> None:
    """What could not be declared was not declared."""

    async def program(_app: Any) -> None:
        with pytest.raises(DeclarationError):
            Thing("x", size="big")  # type: ignore[arg-type]
        await Thing("x", size=1)

    await deploy(program, store)
    assert sorted(store.records()) == ["x"]


async def test_a_secret_is_not_shown_in_a_mistake(cloud: Cloud, store: Store) -> None:
    """A mistyped secret is named without its value."""
    assert "12345" not in await declaring(store, lambda: Vault("v", password=12345))  # type: ignore[arg-type]
    message = await declaring(store, lambda: wrong("x", name=Secret("hunter2")))
    assert "hunter2" not in message
    assert "'name' of t::Typed 'x' must be str, not Secret" in message


async def test_outputs_exist_once_awaited(cloud: Cloud, store: Store) -> None:
    """An early read, a text with an un-awaited resource, and a setting that is not there say what to do."""

    async def program(_app: Any) -> None:
        made = Thing("x")
        with pytest.raises(NotAwaitedError, match="'object_id' of Thing 'x' exists once it is awaited"):
            _ = made.object_id
        assert not hasattr(made, "object_id")
        with pytest.raises(NotAwaitedError, match="put into a text before it was awaited"):
            _ = f"{made}"
        with pytest.raises(AttributeError, match="no attribute 'colour'"):
            _ = made.colour  # type: ignore[attr-defined]
        assert repr(made).startswith("Thing('x', size=1")
        assert (await made) is made
        assert made.object_id == "id-1"
        assert "id-1" in f"{made}"

    await deploy(program, store)


async def test_inputs_come_out_as_they_went_in(cloud: Cloud, store: Store) -> None:
    """Values of every type, in the program, in the handler, and in a handler of a later run."""
    given: dict[str, Any] = {
        "name": "n",
        "ratio": 2,
        "colour": Colour.BLUE,
        "path": Path("a/b"),
        "words": ["x", "y"],
        "pair": (2, "z"),
        "rules": [Rule(80, tags=["t"])],
        "key": Secret("k"),
    }

    async def program(_app: Any) -> None:
        made = await Typed("x", **given)
        for name, value in given.items():
            assert getattr(made, name) == value

    await deploy(program, store, password="pw")
    (held,) = cloud.of("x")
    for name, value in given.items():
        assert held.props[name] == value, name
    cloud.forget()
    await deploy(program, store, password="pw")
    assert cloud.calls == []


async def test_resources_are_found_wherever_they_are_passed(cloud: Cloud, store: Store) -> None:
    """In mappings, sequences, sets, dataclasses and named tuples: a dependency, and its outputs for the handler."""
    Point = namedtuple("Point", "x y")

    async def program(_app: Any) -> None:
        parts = {name: Thing(name) for name in "abcdef"}
        Thing(
            "user",
            needs=[parts["a"], {"k": (parts["b"],)}, {parts["c"]}, Rule(1, parts["d"]), Point(parts["e"], 0)],
            tags=OrderedDict(f=parts["f"]),
        )

    await deploy(program, store)
    assert store.records()["user"].deps == [f"app/dev/{name}" for name in "abcdef"]
    (held,) = cloud.of("user")
    a, mapping, group, rule, point = held.props["needs"]
    assert a.object_id
    assert mapping["k"][0].object_id
    assert next(iter(group)).object_id
    assert rule.target.object_id
    assert point[0].object_id
    assert held.props["tags"]["f"].object_id
    cloud.forget()
    store.writes.clear()
    await deploy(program, store)
    assert (cloud.calls, store.writes) == ([], [])
    await deploy(nothing, store)
    assert cloud.ops("delete")[0] == "delete user"


async def test_what_state_cannot_hold_is_refused(cloud: Cloud, store: Store) -> None:
    """A value of no known type, nesting without end, and a lone surrogate: an error that names the resource."""
    knot: dict[str, Any] = {}
    knot["self"] = knot
    assert "contains itself" in await declaring(store, lambda: Thing("x", tags=knot))
    for value in (object(), {1: "a"}, "\ud800"):

        async def program(_app: Any, value: Any = value) -> None:
            await Thing("x", tags={"deep": [value]})

        with pytest.raises(ExceptionGroup) as caught:
            await deploy(program, Store())
        assert "app/dev/x" in str(caught.value.exceptions[0])
        assert "tags" in str(caught.value.exceptions[0])
    assert cloud.calls == []


async def test_a_copy_belongs_to_no_scope(cloud: Cloud, store: Store) -> None:
    """Handlers' copies await nothing and start nothing."""

    async def program(_app: Any) -> None:
        made = await Thing("x")
        twin = copy.copy(made)
        assert twin.scope is None
        assert (await twin) is twin
        assert twin.object_id == made.object_id
        assert detached(made, size=5).size == 5
        assert twin.fqn == "app/dev/x"

    await deploy(program, store)


HALF = """
from typing import TYPE_CHECKING

from alchemy import Resource, Secret

if TYPE_CHECKING:
    from elsewhere import Later


class Half(Resource, kind="t::Half", provider="alchemy.testing.kinds:ThingProvider"):
    name: str
    later: {hint} = None
    key: Secret[str] | None = None
"""


@pytest.mark.parametrize(
    "hint",
    [
        "'Later'",
        pytest.param(
            "Later", marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are worked out at once")
        ),
    ],
)
async def test_a_type_that_only_checkers_know(
    cloud: Cloud, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hint: str
) -> None:
    """A field of such a type takes everything; the others are checked all the same."""
    (tmp_path / "half.py").write_text(HALF.format(hint=hint))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "half", raising=False)
    half = importlib.import_module("half").Half
    assert "'name' of t::Half 'x' must be str, not int 3" in await declaring(store, lambda: half("x", name=3, later=4))
    assert "'key' of t::Half 'x' must be" in await declaring(store, lambda: half("x", name="a", key="k"))


def test_a_base_class_has_no_kind() -> None:
    """Something without a kind cannot be declared."""

    class Base(Resource):
        size: int = 1

    with pytest.raises(DeclarationError, match="Base is a base class"):
        Base("x")


def test_a_reference_must_name_a_field() -> None:
    """`reference=` with a field that is not there is a mistake of the class."""
    with pytest.raises(DeclarationError, match="Odd has no field 'nope'"):

        class Odd(Resource, kind="t::Odd", reference=["nope"]):
            size: int = 1


def test_what_a_provider_handles_must_be_said() -> None:
    """`Provider` without its resource is a mistake that is named."""
    from alchemy.provider import resource_class

    class Loose(Provider):  # type: ignore[type-arg]
        pass

    with pytest.raises(TypeError, match="must say what it handles"):
        resource_class(Loose)
