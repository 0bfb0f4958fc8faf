"""Whether a value is of an annotated type."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, Protocol, TypedDict, Union

import pytest

from alchemy.secret import Secret
from alchemy.validate import checker, describe

UserId = NewType("UserId", int)


class Colour(Enum):
    RED = "red"


class Shape(TypedDict):
    sides: int


class Named(Protocol):
    name: str


class Thing:
    """Anything; every process that runs the tests has to name them alike."""

    def __repr__(self) -> str:
        return "a thing"


THING = Thing()

PASSES: list[tuple[Any, Any]] = [
    (int, 1),
    (float, 1),
    (float, 1.5),
    (bool, True),
    (str, "a"),
    (None, None),
    (int | None, None),
    (Optional[int], 3),  # noqa: UP045
    (Union[int, str], "a"),  # noqa: UP007
    (Literal["a", 1], 1),
    (list[int], [1, 2]),
    (Sequence[int], (1, 2)),
    (Sequence[Sequence[str]], [["a"], ("b",)]),
    (Mapping[str, int | None], {"a": None}),
    (dict[str, Any], {"a": THING}),
    (tuple[int, ...], (1, 2, 3)),
    (tuple[int, str], (1, "a")),
    (AbstractSet[int], {1}),
    (Annotated[int, "doc"], 1),
    (UserId, 1),
    (Colour, Colour.RED),
    (Path, Path("a")),
    (Secret[str], Secret("a")),
    (Secret, Secret(1)),
    (Shape, {"sides": 3}),
    (Any, THING),
    (Named, THING),
    (Callable[[int], int], len),
    ("NotKnown", 1),
]
FAILS: list[tuple[Any, Any]] = [
    (int, True),
    (int, 1.0),
    (int, "1"),
    (float, True),
    (float, "1"),
    (bool, 1),
    (str, b"a"),
    (None, 0),
    (int | None, "a"),
    (Literal["a", 1], True),
    (Literal[1], 1.0),
    (list[int], (1, 2)),
    (Sequence[str], "abc"),
    (Sequence[int], b"ab"),
    (Sequence[int], [1, "a"]),
    (Mapping[str, int], {"a": "b"}),
    (Mapping[str, int], {1: 1}),
    (Mapping[str, int], [("a", 1)]),
    (tuple[int, ...], (1, "a")),
    (tuple[int, str], (1,)),
    (tuple[int, str], [1, "a"]),
    (AbstractSet[int], [1]),
    (Annotated[int, "doc"], "1"),
    (UserId, "1"),
    (Colour, "red"),
    (Path, "a"),
    (Secret[str], "a"),
    (Secret[str], Secret(1)),
    (Shape, [3]),
]


@pytest.mark.parametrize(("hint", "value"), PASSES, ids=repr)
def test_passes(hint: Any, value: Any) -> None:
    """A value of the type, or of one that cannot be tested."""
    check = checker(hint)
    assert check is None or check(value)


@pytest.mark.parametrize(("hint", "value"), FAILS, ids=repr)
def test_fails(hint: Any, value: Any) -> None:
    """A value of another type, at any depth."""
    check = checker(hint)
    assert check is not None
    assert not check(value)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "int"),
        (Sequence[str], "Sequence[str]"),
        (typing.Optional[int], "int | None"),  # noqa: UP045
        (Secret[str] | Literal["a"], "Secret[str] | Literal['a']"),
        (Secret[str], "Secret[str]"),
        (Literal["a"], "Literal['a']"),
    ],
)
def test_types_are_said_as_a_person_would(hint: Any, words: str) -> None:
    """Without module names."""
    assert describe(hint) == words
