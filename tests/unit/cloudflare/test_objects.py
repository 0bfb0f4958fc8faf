"""What becomes of a Worker's classes, computed from what was, what is and what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.cloudflare import DurableObjectNamespace, Worker
from alchemy.cloudflare._objects import (
    Known,
    Namespace,
    Plan,
    declared_as,
    expected,
    exports,
    following,
    handover,
    migrations,
    own_classes,
    plan,
    remembered,
    to_remember,
)
from alchemy.errors import DeclarationError
from alchemy.resource import make_detached

ROOM, HALL = Namespace("1", "Room", "api"), Namespace("2", "Hall", "api")


def bound(id: str, class_name: str, script: str | None = None, *, empty: bool = False) -> DurableObjectNamespace:
    """Make a namespace as a Worker's handler finds it in the bindings."""
    values = {"class_name": class_name, "script": script, "empty_on_delete": empty}
    made = make_detached(DurableObjectNamespace, id=id, fqn=f"app/dev/{id}", values=values)
    assert isinstance(made, DurableObjectNamespace)
    return made


def planned(
    wanted: Mapping[str, str],
    account: Sequence[Namespace] = (),
    known: Mapping[str, Known] | None = None,
    elsewhere: Mapping[str, Known] | None = None,
    **more: Any,
) -> Plan:
    """Plan for the script `api`."""
    return plan("api", wanted, known or {}, elsewhere or {}, account, **more)


def test_a_new_class() -> None:
    """It is made, in both forms; the tags follow one another, and a stranger's tag is followed by ours."""
    made = planned({"rooms": "Room"})
    assert exports(made) == {"Room": {"type": "durable-object", "storage": "sqlite"}}
    steps = [{"new_sqlite_classes": ["Room"]}]
    assert migrations(made, None) == {"new_tag": "alchemy-1", "steps": steps}
    assert migrations(made, "alchemy-9") == {"old_tag": "alchemy-9", "new_tag": "alchemy-10", "steps": steps}
    assert migrations(made, "v3") == {"old_tag": "v3", "new_tag": "alchemy-1", "steps": steps}


def test_nothing_to_do() -> None:
    """A class that is there stays live in its declaration, and needs no step."""
    made = planned({"rooms": "Room"}, [ROOM], {"rooms": Known("Room", "1")})
    assert exports(made) == {"Room": {"type": "durable-object", "storage": "sqlite"}}
    assert migrations(made, "alchemy-1") is None


@pytest.mark.parametrize("known", [Known("Room", "1"), Known("Lobby", "1"), Known("Room")])
def test_a_rename(known: Known) -> None:
    """The namespace's id says which it is, also when the record says that the rename was begun; else its class does."""
    made = planned({"rooms": "Lobby"}, [ROOM], {"rooms": known})
    assert (made.live, made.new, made.renamed, made.leaving) == (("Lobby",), (), (("Room", "Lobby"),), ())
    assert exports(made)["Room"] == {"type": "durable-object", "state": "renamed", "renamed_to": "Lobby"}
    assert migrations(made, None) == {
        "new_tag": "alchemy-1",
        "steps": [{"renamed_classes": [{"from": "Room", "to": "Lobby"}]}],
    }


def test_a_rename_that_took_effect() -> None:
    """Computed again after an upload whose answer was lost, there is nothing to do."""
    made = planned({"rooms": "Room"}, [ROOM], {"rooms": Known("Before", "1")})
    assert (made.renamed, made.new, made.leaving) == ((), (), ())


def test_a_class_that_leaves() -> None:
    """Whoever it was declared by, and also when nobody knows it."""
    for known in ({"rooms": Known("Room", "1")}, {}):
        made = planned({}, [ROOM], known)
        assert made.leaving == (ROOM,)
        assert exports(made) == {"Room": {"type": "durable-object", "state": "deleted"}}
        assert migrations(made, None) == {"new_tag": "alchemy-1", "steps": [{"deleted_classes": ["Room"]}]}


def test_another_name_for_the_same_class() -> None:
    """A namespace that no record knows is that of the class of its name, unless it is another one's."""
    made = planned({"halls": "Room"}, [ROOM], {"rooms": Known("Room", "1")})
    assert (made.new, made.leaving) == ((), ())


def test_a_class_that_moves() -> None:
    """What another record keeps of it says where it is; in the older form the step is on this side alone."""
    source = Namespace("1", "Room", "old")
    made = planned({"rooms": "Room"}, [source, HALL], {"halls": Known("Hall", "2")}, {"rooms": Known("Room", "1")})
    assert made.live == ()
    assert exports(made)["Room"] == {
        "type": "durable-object",
        "state": "expecting-transfer",
        "storage": "sqlite",
        "transfer_from": "old",
    }
    given_away = handover(made.moves, [source, Namespace("3", "Den", "old"), HALL], "api")
    assert given_away == {
        "Den": {"type": "durable-object", "storage": "sqlite"},
        "Room": {"type": "durable-object", "state": "transferred", "transferred_to": "api"},
    }
    steps = migrations(planned({"rooms": "Room"}, [source], {}, {"rooms": Known("Room", "1")}), None)
    assert steps is not None
    assert steps["steps"] == [{"transferred_classes": [{"from": "Room", "from_script": "old", "to": "Room"}]}]


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"rooms": "Hall", "halls": "Room"}, "to go and to come in one deploy"),
        ({"rooms": "Hall"}, "to go and to come in one deploy"),
        ({"dens": "Den"}, "is to move to 'api' and to be called 'Den'"),
    ],
)
def test_what_one_deploy_cannot_do(wanted: dict[str, str], why: str) -> None:
    """Two classes that swap names, one that takes the name of one that leaves, a move with another name."""
    known = {"rooms": Known("Room", "1"), "halls": Known("Hall", "2")}
    account = [ROOM, HALL, Namespace("3", "Cave", "old")]
    with pytest.raises(DeclarationError, match=why) as refused:
        planned(wanted, account, known, {"dens": Known("Cave", "3")})
    assert "deploy" in (refused.value.hint or "")


def test_a_class_that_moves_is_not_taken_for_one_of_its_name() -> None:
    """What another Worker has under the id is meant, and never the data of a class here that is called the same."""
    with pytest.raises(DeclarationError, match="'Room' of the Worker 'api' is to go and to come"):
        planned({"rooms": "Room"}, [ROOM, Namespace("5", "Room", "old")], {}, {"rooms": Known("Room", "5")})


def test_a_class_that_is_still_declared_is_not_given_to_another() -> None:
    """A Worker gets a new class of the name of one that is to move, and comes before who takes that: refused."""
    known = {"rooms": Known("Room", "1")}
    assert planned({"halls": "Room"}, [ROOM], known).found == {"halls": ROOM}
    with pytest.raises(DeclarationError, match=r"halls is to have the class 'Room' .* that of rooms") as refused:
        planned({"halls": "Room"}, [ROOM], known, unbound=["rooms"])
    assert "that one comes first" in (refused.value.hint or "")
    moved = planned({"halls": "Room"}, [ROOM._replace(script="new")], known, unbound=["rooms"])
    assert (moved.new, moved.leaving) == (("Room",), ())


def test_what_leaves_before_its_id_was_known() -> None:
    """After an upload that was cut off, a class says what it was declared as, and the word said of it still holds."""
    known = {"app/dev/rooms": Known("Room", "", True)}
    made = planned({}, [ROOM], known)
    assert declared_as(made.leaving, known) == {"1": "app/dev/rooms"}
    assert expected(made, {}, known) == {"app/dev/rooms": Known("Room", "1", True)}


def test_what_is_kept_before_an_upload() -> None:
    """The ids that are known, what will come, and what leaves, with the word that was said of it."""
    known = {"app/dev/rooms": Known("Room", "1"), "app/dev/halls": Known("Hall", "2", True)}
    own = own_classes("api", {"A": bound("rooms", "Lobby"), "B": bound("dens", "Den", empty=True)})
    made = plan("api", {fqn: value.class_name for fqn, value in own.items()}, known, {}, [ROOM, HALL])
    assert expected(made, own, known) == {
        "app/dev/rooms": Known("Lobby", "1"),
        "app/dev/dens": Known("Den", "", True),
        "app/dev/halls": Known("Hall", "2", True),
    }


def test_own_classes() -> None:
    """Those without a script, and those of this script; two resources for one class are refused."""
    bindings: dict[str, Any] = {"A": bound("rooms", "Room"), "B": bound("halls", "Hall", "api"), "C": "text"}
    others = {"D": bound("dens", "Den", "other"), "E": make_detached(Worker, id="w", fqn="app/dev/w", values={})}
    assert list(own_classes("api", bindings | others)) == ["app/dev/rooms", "app/dev/halls"]
    assert len(own_classes("api", {"A": bound("rooms", "Room"), "B": bound("rooms", "Room")})) == 1
    with pytest.raises(DeclarationError, match="'rooms' and 'halls' are both of the class 'Room'"):
        own_classes("api", {"A": bound("rooms", "Room"), "B": bound("halls", "Room")})


def test_what_is_kept_follows_a_record() -> None:
    """The bindings of the last upload say what a namespace is called today."""
    known = {"app/dev/old": Known("Room", "1"), "app/dev/halls": Known("Hall", "2")}
    before: dict[str, Any] = {"A": bound("new", "Room"), "B": bound("theirs", "Hall", "other")}
    assert following(known, "api", before) == {"app/dev/new": Known("Room", "1"), "app/dev/halls": Known("Hall", "2")}


_known = st.builds(Known, st.text(min_size=1), st.text(), st.booleans())


@given(st.dictionaries(st.text(min_size=1), _known))
def test_what_a_record_keeps_is_read_again(known: dict[str, Known]) -> None:
    """Written and read, it is the same."""
    assert remembered({"classes": to_remember(known)}) == known


_names = st.sampled_from(["A", "B", "C", "D"])


@given(
    st.lists(_names, unique=True),
    st.dictionaries(st.sampled_from(["w", "x", "y", "z"]), _names).filter(
        lambda wanted: len(set(wanted.values())) == len(wanted)
    ),
    st.data(),
)
def test_every_class_has_one_entry(there: list[str], wanted: dict[str, str], data: st.DataObject) -> None:
    """Whatever there is and whatever is wanted: no namespace is forgotten, and every class that is wanted is live."""
    account = [Namespace(name.lower(), name, "api") for name in there]
    names = data.draw(st.permutations(["w", "x", "y", "z"]))
    known = {fqn: Known(each.class_name, each.id) for fqn, each in zip(names, account, strict=False)}
    try:
        made = planned(wanted, account, known)
    except DeclarationError:
        return
    entries = exports(made)
    assert set(entries) == {*there, *wanted.values()}
    assert {name for name, entry in entries.items() if "storage" in entry} == set(wanted.values())
    kept = {each.id for each in made.found.values()}
    assert kept | {each.id for each in made.leaving} == {each.id for each in account}
