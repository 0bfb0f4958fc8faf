"""Which Durable Object is meant on the command line, and how they are listed."""

from __future__ import annotations

import time

import pytest
from click.testing import CliRunner

from alchemy.cli.commands import local_objects
from alchemy.cli.commands.local_objects import choose_class, choose_object, lines
from alchemy.errors import ConfigurationError
from alchemy.local import ObjectClass, StoredObject

NAMED = StoredObject("a" * 64, "org_default", 8192, 0, True)
NAMELESS = StoredObject("f" * 64, None, 100, 0, False)
STORE = ObjectClass("api", "Store", "n1", (NAMED, NAMELESS))
CLASSES = [STORE, ObjectClass("api", "Room", "n2", ()), ObjectClass("chat", "Room", "n3", ())]


def test_a_class_is_meant_by_its_name_or_with_its_worker() -> None:
    """The name is enough where one Worker has it."""
    assert choose_class(CLASSES, "Store") is STORE
    assert choose_class(CLASSES, "chat/Room") is CLASSES[2]


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("Room", "2 Workers have a class Room", "say which: api/Room, chat/Room"),
        ("Stor", "no Worker has a class Stor", "did you mean Store?"),
        ("ap/Store", "no Worker has a class ap/Store", "did you mean api/Store?"),
        ("x", "no Worker has a class x", "`alchemy local objects` shows what there is"),
    ],
)
def test_a_class_that_is_not_one(said: str, message: str, hint: str) -> None:
    """Several, or none: the error names those that may have been meant."""
    with pytest.raises(ConfigurationError) as refused:
        choose_class(CLASSES, said)
    assert (refused.value.message, refused.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("name", "object_id", "message", "hint"),
    [
        ("org_defalt", None, "api/Store has no object called org_defalt", "did you mean org_default?"),
        (
            "a\nb",
            None,
            "api/Store has no object called 'a\\nb'",
            "`alchemy local objects api/Store` shows what there is",
        ),
        (None, "f" * 63, f"api/Store has no object with the id {'f' * 63}", f"did you mean {'f' * 64}?"),
    ],
)
def test_an_object_that_there_is_not(name: str | None, object_id: str | None, message: str, hint: str) -> None:
    """One that was never constructed is an error that names near ones, and stays on its line."""
    with pytest.raises(ConfigurationError) as refused:
        choose_object(STORE, name, object_id)
    assert (refused.value.message, refused.value.hint) == (message, hint)


def test_an_object_is_found_by_its_id() -> None:
    """For one that has no name."""
    assert choose_object(STORE, None, "f" * 64) is NAMELESS


def test_objects_are_listed_below_their_class() -> None:
    """In columns over all classes; a class without any says so, and a name that is not known is `-`."""
    then = time.time() - 50 * 3600
    long, short = StoredObject("e" * 64, "x" * 8, 10, then, False), StoredObject("f" * 64, None, 8192, then, True)
    assert lines([ObjectClass("api", "Store", "n1", (long,)), CLASSES[1], ObjectClass("w", "C", "n3", (short,))]) == [
        "api/Store  n1",
        f"  xxxxxxxx  not in memory  10 bytes    written 2 d ago  {long.id}",
        "api/Room  n2  no objects",
        "w/C  n3",
        f"  -         in memory      8192 bytes  written 2 d ago  {short.id}",
    ]


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("evict", [], "say which object"),
        ("evict", ["Store"], "say which object"),
        ("evict", ["Store", "a", "--id", "b"], "not both"),
        ("evict", ["Store", "a", "--all"], "--all is not for one object"),
        ("evict", ["Store", "a", "--now"], "alchemy local evict --all --now"),
        ("evict", ["Store", "--all", "--now"], "alchemy local evict --all --now"),
        ("evict", ["Store", "a", "--timeout", "31"], "1<=x<=30"),
        ("delete_object", ["Store"], "say which object"),
        ("delete_object", ["Store", "a", "--id", "b"], "not both"),
    ],
)
def test_what_does_not_make_one_object_is_refused(command: str, arguments: list[str], said: str) -> None:
    """Before anything is asked: exit code 2, and what to say instead."""
    done = CliRunner().invoke(getattr(local_objects, command), arguments)
    assert done.exit_code == 2
    assert said in done.output
