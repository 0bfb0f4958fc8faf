"""The tree of errors is the one that its module draws, and each error says what to do next."""

from __future__ import annotations

import inspect
import re

import pytest

from alchemy import errors
from alchemy.errors import (
    AlchemyError,
    LockedError,
    NotAwaitedError,
    NotStarted,
    ProviderError,
    ResourceFailed,
    StateDamaged,
)

CLASSES = [
    item for _, item in inspect.getmembers(errors, inspect.isclass) if item.__module__ == errors.__name__
]  # everything the module defines


def drawn() -> dict[str, str | None]:
    """Read the tree in the module's docstring: each class's name and the one it hangs from."""
    above: dict[str, str | None] = {}
    path: list[str] = []
    block = (errors.__doc__ or "").split("```")[1]
    for line in block.strip("\n").splitlines():
        match = re.match(r"(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+) ", line)
        if match is None:
            continue
        depth = len(match["indent"]) // 4
        del path[depth:]
        above[match["name"]] = path[-1] if path else None
        path.append(match["name"])
    return above


def test_the_drawn_tree_is_the_real_one() -> None:
    """Every class is in the docstring's tree, under the class that it derives from, and no other is there."""
    real: dict[str, str | None] = {}
    for item in CLASSES:
        bases = [base.__name__ for base in item.__bases__ if issubclass(base, AlchemyError)]
        assert len(bases) <= 1
        real[item.__name__] = bases[0] if bases else None
    assert drawn() == real
    assert [name for name, base in real.items() if base is None] == ["AlchemyError"]


@pytest.mark.parametrize("item", CLASSES, ids=lambda item: item.__name__)
def test_every_error_is_an_exception_that_says_what_it_means(item: type) -> None:
    """`except AlchemyError` and `except Exception` catch each of them, and each has its own docstring."""
    assert issubclass(item, AlchemyError)
    assert issubclass(item, Exception)
    assert item.__dict__["__doc__"]


@pytest.mark.parametrize("item", CLASSES, ids=lambda item: item.__name__)
def test_every_error_carries_message_and_hint(item: type[AlchemyError]) -> None:
    """Each has `message` and `hint`, and its text is both; without a hint, the message alone."""
    required = {
        name: name
        for name, parameter in inspect.signature(item).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    }
    error = item("it broke", hint="mend it", **required)
    assert (error.message, error.hint) == ("it broke", "mend it")
    assert str(error) == "it broke (mend it)"
    assert str(item("it broke", **required)) == "it broke"
    for name, value in required.items():
        assert getattr(error, name) == value


def test_an_output_read_too_early_is_an_attribute_error() -> None:
    """`getattr` with a default and `hasattr` see a missing output as missing."""

    class Early:
        @property
        def url(self) -> str:
            raise NotAwaitedError("url exists once awaited")

    assert not hasattr(Early(), "url")
    assert getattr(Early(), "url", None) is None


def test_what_was_never_begun_counts_as_failed() -> None:
    """Whoever handles a failed resource handles one that was not started."""
    error = NotStarted("not begun", fqn="notes/prod/api", action="create")
    assert isinstance(error, ResourceFailed)
    assert (error.fqn, error.action) == ("notes/prod/api", "create")


def test_a_providers_answer_is_final_unless_it_says_otherwise() -> None:
    """By default nothing is retried, and nothing is taken to have happened in spite of the error."""
    plain = ProviderError("no")
    assert (plain.code, plain.status, plain.retry_after) == (None, None, None)
    assert not plain.retryable
    assert not plain.ambiguous
    told = ProviderError("slow down", code=971, status=429, retryable=True, ambiguous=True, retry_after=2.5)
    assert (told.code, told.status, told.retryable, told.ambiguous, told.retry_after) == (971, 429, True, True, 2.5)


def test_facts_are_attributes() -> None:
    """What a caller would look for in the text is an attribute."""
    assert StateDamaged("x", path="state.json").path == "state.json"
    locked = LockedError("x", unit="notes/prod", owner="ada@host")
    assert (locked.unit, locked.owner) == ("notes/prod", "ada@host")
