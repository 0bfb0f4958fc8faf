"""Events become JSON under names of their own, and reach every listener in order."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from alchemy import events
from alchemy.events import ALL, Bus, Event, to_json

SAMPLES: dict[str, Any] = {
    "str": "text",
    "int": 3,
    "float": 0.5,
    "bool": True,
    "dict": {"created": 2},
    "list": ["it failed"],
}


def sample(kind: type[Event]) -> Event:
    """Make an event with a value in every field."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        annotation: Any = field.type
        options: Any = getattr(annotation, "__args__", ())
        if isinstance(annotation, type):
            values[field.name] = SAMPLES[annotation.__name__]
        elif getattr(annotation, "__origin__", None) in (dict, list):
            values[field.name] = SAMPLES[annotation.__origin__.__name__]
        else:  # a Literal's first word, or the first type of a union
            first = options[0]
            first = getattr(first, "__args__", (first,))[0]
            values[field.name] = SAMPLES[first.__name__] if isinstance(first, type) else first
    return kind(**values)


def defined() -> list[type[Event]]:
    return [
        item
        for _, item in inspect.getmembers(events, inspect.isclass)
        if issubclass(item, Event) and item is not Event and item.__module__ == events.__name__
    ]


def test_every_event_is_listed() -> None:
    """`ALL` has every event that the module defines, each once."""
    assert sorted(ALL, key=lambda item: item.__name__) == sorted(defined(), key=lambda item: item.__name__)
    assert len(set(ALL)) == len(ALL)


def test_every_event_has_a_type_of_its_own() -> None:
    """No two events share the name under which JSON knows them, and none kept the base's."""
    types = [item.type for item in ALL]
    assert len(set(types)) == len(types)
    assert Event.type not in types
    assert all("type" in item.__dict__ for item in ALL)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.type)
def test_every_event_becomes_json_and_back(kind: type[Event]) -> None:
    """The object has the type first and every field, passes through any JSON encoder, and makes the event again."""
    event = sample(kind)
    data = to_json(event)
    assert next(iter(data)) == "type"
    assert set(data) == {"type", *kind.__struct_fields__}
    assert json.loads(json.dumps(data)) == msgspec.json.decode(msgspec.json.encode(data)) == data
    assert data.pop("type") == kind.type
    assert msgspec.convert(data, kind) == event


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.type)
def test_no_field_hides_the_type(kind: type[Event]) -> None:
    """No event has a field called as the type is, and each says what it means."""
    assert "type" not in kind.__struct_fields__
    assert kind.__doc__


def test_an_event_knows_when_it_happened() -> None:
    """`at` is the moment the event was made, in seconds since the epoch, unless it is given."""
    event = events.ScopeEntered(fqn="notes/prod/database")
    assert datetime.fromtimestamp(event.at, UTC).year >= 2024
    assert events.ScopeEntered(fqn="x", at=12.5).at == 12.5


def test_events_do_not_change() -> None:
    """An event handed to one listener is the same for the next: its fields cannot be set."""
    event = events.ScopeEntered(fqn="notes/prod/database")
    with pytest.raises(AttributeError):
        event.fqn = "another"  # type: ignore[misc]


def test_the_bus_tells_every_listener_in_order() -> None:
    """Each listener hears each event, in the order of emission, from the moment it listens."""
    heard: list[tuple[str, Event]] = []
    bus = Bus((lambda event: heard.append(("first", event)),))
    one, two = events.Notice(level="info", message="one"), events.Notice(level="warning", message="two")
    bus.emit(one)
    bus.listen(lambda event: heard.append(("second", event)))
    bus.emit(two)
    assert heard == [("first", one), ("first", two), ("second", two)]


def test_a_listener_that_fails_is_not_hidden() -> None:
    """What a listener raises reaches whoever emitted: it is a bug, not news."""

    def broken(_event: Event) -> None:
        raise RuntimeError("cannot draw")

    with pytest.raises(RuntimeError, match="cannot draw"):
        Bus((broken,)).emit(events.Notice(level="info", message="x"))
