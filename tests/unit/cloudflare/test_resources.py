"""What the resources are called, refer to and accept, and what their bindings become."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import alchemy.cloudflare
from alchemy import alchemy as application
from alchemy.cloudflare import D1Database, DurableObjectNamespace, KVNamespace, R2Bucket, Worker
from alchemy.cloudflare._bindings import observed, wire
from alchemy.cloudflare.d1_database import D1DatabaseProvider
from alchemy.cloudflare.kv_namespace import KVNamespaceProvider
from alchemy.cloudflare.provider import CloudflareProvider
from alchemy.cloudflare.r2_bucket import R2BucketProvider
from alchemy.cloudflare.worker import COMPATIBILITY_DATE, WorkerProvider, bundle_of
from alchemy.engine.values import Sealed
from alchemy.errors import DeclarationError
from alchemy.local import NEWEST_COMPATIBILITY_DATE
from alchemy.names import physical_name
from alchemy.provider import resource_class
from alchemy.resource import Resource, class_of_kind, make_detached
from alchemy.secret import Secret

RULES = {
    WorkerProvider: r"[a-z0-9][a-z0-9-]{0,62}",
    D1DatabaseProvider: r"[a-z0-9][a-z0-9-]{0,62}",
    KVNamespaceProvider: r"[A-Za-z0-9_-]{1,512}",
    R2BucketProvider: r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
}


def made(cls: type[Resource], **values: Any) -> Any:
    """Make a resource as a handler gets it."""
    return make_detached(cls, id="it", fqn="app/dev/it", values=values)


def test_the_package_exports_its_resources() -> None:
    """What a program imports is there, and nothing else is promised."""
    assert alchemy.cloudflare.__all__ == [
        "Binding",
        "D1Database",
        "DurableObjectNamespace",
        "KVNamespace",
        "R2Bucket",
        "Worker",
    ]


@pytest.mark.parametrize("provider", list(RULES))
def test_each_provider_handles_its_kind(provider: type[CloudflareProvider[Any]]) -> None:
    """Kinds are those of Alchemy for TypeScript, and a record's words lead back to the provider."""
    cls = resource_class(provider)
    assert cls._provider == f"{cls.__module__}:{provider.__name__}"
    assert class_of_kind(f"cloudflare::{cls.__name__}") is cls
    assert provider.recover == "name"
    assert provider.name_input in cls._spec.inputs


@given(st.sampled_from(list(RULES)), st.text(min_size=1, max_size=300))
def test_engine_made_names_follow_cloudflares_rules(provider: type[CloudflareProvider[Any]], fqn: str) -> None:
    """Whatever a resource is called, the name made for it is one that Cloudflare takes."""
    naming = provider.naming
    assert naming is not None
    name = physical_name(naming, lineage="00" * 16, fqn=fqn, kind="k", generation=1)
    assert re.fullmatch(RULES[provider], name)


@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (D1Database, {"database_id", "database_name"}),
        (KVNamespace, {"namespace_id"}),
        (R2Bucket, {"bucket_name", "jurisdiction"}),
        (Worker, {"script_name"}),
    ],
)
def test_a_reference_holds_what_a_binding_needs(cls: type[Resource], fields: set[str]) -> None:
    """Who binds a resource is touched only when these change: not by a migration, a title or an edited script."""
    assert set(cls._spec.reference or ()) == fields


@pytest.mark.parametrize(
    ("bindings", "fits"),
    [
        ({"DB": made(D1Database)}, True),
        ({"A": "t", "B": 1, "C": 1.5, "D": True, "E": {"a": [None]}, "F": [1], "G": Secret("s")}, True),
        ({}, True),
        ({"A": None}, False),
        ({"A": b"bytes"}, False),
        ({"A": object()}, False),
        ({"A": Secret(1)}, False),
        ({1: "a"}, False),
        (["A"], False),
    ],
)
def test_what_a_worker_can_be_bound_to(bindings: Any, fits: bool) -> None:
    """The constructor's check takes what Cloudflare can be given, and refuses the rest."""
    check = Worker._spec.inputs["bindings"].check
    assert check is not None
    assert check(bindings) is fits


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("t", {"type": "plain_text", "text": "t"}),
        ("", {"type": "plain_text", "text": ""}),
        (3, {"type": "json", "json": 3}),
        (True, {"type": "json", "json": True}),
        (0.5, {"type": "json", "json": 0.5}),
        ({"a": [1, None]}, {"type": "json", "json": {"a": [1, None]}}),
        ((1, 2), {"type": "json", "json": [1, 2]}),
        (Secret("s"), {"type": "secret_text", "text": "s"}),
        (made(D1Database, database_id="u"), {"type": "d1", "id": "u", "database_id": "u"}),
        (made(KVNamespace, namespace_id="n"), {"type": "kv_namespace", "namespace_id": "n"}),
        (made(R2Bucket, bucket_name="b"), {"type": "r2_bucket", "bucket_name": "b"}),
        (
            made(R2Bucket, bucket_name="b", jurisdiction="eu"),
            {"type": "r2_bucket", "bucket_name": "b", "jurisdiction": "eu"},
        ),
        (made(Worker, script_name="w"), {"type": "service", "service": "w"}),
    ],
)
def test_a_binding_as_the_upload_has_it(value: Any, expected: dict[str, Any]) -> None:
    """Each kind of value becomes the type of binding that gives the code what was declared."""
    assert wire("NAME", value, "api") == {"name": "NAME", **expected}


@pytest.mark.parametrize("value", [{"a": float("nan")}, [object()], {"a": Secret("s3cr3t")}, [made(D1Database)]])
def test_what_json_cannot_hold_is_refused_by_name(value: Any) -> None:
    """The error names the binding and shows no value."""
    with pytest.raises(DeclarationError, match="'NAME'") as caught:
        wire("NAME", value, "api")
    assert "s3cr3t" not in str(caught.value)


def test_a_resource_of_another_kind_is_refused() -> None:
    """A Worker cannot be bound to what Cloudflare knows nothing of."""

    class Other(Resource, kind="test::Other", provider=WorkerProvider):
        pass

    with pytest.raises(DeclarationError, match="'NAME' is a Other"):
        wire("NAME", made(Other), "api")


def test_bindings_are_observed_in_the_programs_words() -> None:
    """What is as declared compares equal to it; what was changed, taken away or added is shown as it is."""
    database = made(D1Database, database_id="u")
    declared = {"KEY": Secret("s"), "DB": database, "TEXT": "t", "LOST": 1, "JSON": {"a": 1}}
    found: list[dict[str, Any]] = [
        {"name": "NEW", "type": "plain_text", "text": "n"},
        {"name": "DB", "type": "d1", "id": "u"},
        {"name": "TEXT", "type": "plain_text", "text": "other"},
        {"name": "KEY", "type": "secret_text"},
        {"name": "JSON", "type": "json", "json": {"a": 1}},
    ]
    seen = observed(declared, found, "api")
    assert list(seen) == ["KEY", "DB", "TEXT", "JSON", "NEW"]
    assert seen["DB"] is database
    assert {name: seen[name] for name in ("KEY", "JSON")} == {"KEY": Secret("s"), "JSON": {"a": 1}}
    assert seen["TEXT"] == {"type": "plain_text", "text": "other"}


def test_no_secret_is_opened_to_observe_it() -> None:
    """A Worker can be read, and so destroyed, without the password of its secrets."""

    def refuse() -> str:
        raise AssertionError("the secret was opened")

    declared = {"KEY": Sealed(refuse), "TEXT": Sealed(refuse)}
    found = [{"name": "KEY", "type": "secret_text"}, {"name": "TEXT", "type": "plain_text", "text": "t"}]
    seen = observed(declared, found, "api")
    assert seen["KEY"] is declared["KEY"]
    assert seen["TEXT"] == {"type": "plain_text", "text": "t"}


def test_the_default_date_runs_on_this_machine_too() -> None:
    """The local runtime takes the compatibility date that Workers get when they declare none."""
    assert COMPATIBILITY_DATE <= NEWEST_COMPATIBILITY_DATE


@pytest.mark.parametrize(
    ("values", "which"),
    [({}, "neither"), ({"script": "export default {}", "entrypoint": "worker.js"}, "both")],
)
def test_a_worker_has_exactly_one_source(values: dict[str, str], which: str) -> None:
    """Neither or both of `entrypoint` and `script` is an error that names the Worker."""
    with pytest.raises(DeclarationError, match=f"'it' has {which}"):
        bundle_of(made(Worker, **values))


@pytest.mark.parametrize("class_name", ["", "my-room", "1Room", "Room.Inner"])
def test_a_class_has_a_name(class_name: str) -> None:
    """What no class can be called is refused before any call."""
    with pytest.raises(DeclarationError, match="no name of a class"):
        made(DurableObjectNamespace, class_name=class_name, script_name=None).fingerprint()


def test_a_class_is_of_a_worker() -> None:
    """As `script_name` a Worker, its name and nothing are taken; another resource and another text are refused."""
    for of in (None, "other", made(Worker)):
        assert made(DurableObjectNamespace, class_name="Room", script_name=of).fingerprint() is None
    with pytest.raises(DeclarationError, match="has a D1Database as script_name"):
        made(DurableObjectNamespace, class_name="Room", script_name=made(D1Database)).fingerprint()
    for name in ("", "My Worker", "-api"):
        with pytest.raises(DeclarationError, match="no name of a Worker"):
            made(DurableObjectNamespace, class_name="Room", script_name=name).fingerprint()


@pytest.mark.parametrize(("script", "expected"), [(None, {}), ("api", {}), ("other", {"script_name": "other"})])
def test_a_binding_to_a_class(script: str | None, expected: dict[str, str]) -> None:
    """Its own script is not named; whether the API names it or not, the binding is read as declared."""
    value = made(DurableObjectNamespace, class_name="Room", script=script)
    sent = wire("ROOM", value, "api")
    assert sent == {"name": "ROOM", "type": "durable_object_namespace", "class_name": "Room", **expected}
    for told in (sent, {**sent, "script_name": script or "api", "namespace_id": "1"}):
        assert observed({"ROOM": value}, [told], "api") == {"ROOM": value}
    assert observed({"ROOM": value}, [{**sent, "class_name": "Hall"}], "api") != {"ROOM": value}


@pytest.mark.anyio
async def test_a_class_is_of_one_worker(tmp_path: Path) -> None:
    """Bound to a second Worker as its own it is refused where that is declared; another's class may be shared."""
    said: list[str] = []
    shared = False
    with contextlib.suppress(ExceptionGroup):  # nothing is there to be read
        async with application("app", stage="dev", phase="read", state_dir=tmp_path):
            rooms = DurableObjectNamespace("rooms", class_name="Room")
            with pytest.raises(DeclarationError):
                Worker("broken", scripts="", bindings={"ROOM": rooms})  # type: ignore[call-arg]
            first = Worker("first", script="", bindings={"ROOM": rooms, "SAME": rooms})
            try:
                Worker("second", script="", bindings={"ROOM": rooms})
            except DeclarationError as error:
                said += [error.message, error.hint or ""]
            theirs = DurableObjectNamespace("their-rooms", class_name="Room", script_name=first)
            Worker("second", script="", bindings={"ROOM": theirs})
            Worker("third", script="", bindings={"ROOM": theirs})
            shared = True
    assert shared
    assert "a class of the Worker 'first' already, and 'second' is bound" in said[0]
    assert "the Worker 'first' as script_name" in said[1]
