"""Each kind in this package's words, and what has no counterpart: kept aside with the reason, never guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from alchemy.cloudflare import R2Bucket
from alchemy.crypto import Cipher
from alchemy.errors import ConfigurationError, DeclarationError, SecretError, StateDamaged, StateError
from alchemy.importing.composing import Plan, compose
from alchemy.importing.found import Found
from alchemy.importing.translating import Item, Kept, Translated, translate
from alchemy.secret import Secret
from alchemy.state import SCOPE_KIND, STAGE_KIND, JsonObject, Record, Status

ROOT = Path("/srv/shop")
PASSWORD = "pässword"
LEGACY = "KnxVVTfgkWDAsMURMrxZdgeKeZ2u+C6PLx4Z2nqZl5UOOMw6lX+Pbr15FLVVTfxP"
V1 = {
    "version": "v1",
    "ciphertext": "p7h3eg5xYdY=",
    "iv": "M7xwvuP/Z5B3BLaS",
    "salt": "UFzL2ZFJlLxY6+A7ek/jSw==",
    "tag": "5CSzrJqBVKerdgY4pXacAg==",
}
"""Both hold `hello é`, as the package sealed it."""

OBJECT: dict[str, Any] = {"output": {"id": "i-1", "name": "there"}}


def found(kind: str, props: JsonObject | None = None, **given: Any) -> Found:
    """Give a record of a source."""
    fqn = given.pop("fqn", "shop/prod/a")
    raw = {"kind": kind}
    return Found(where=f"{fqn}.json", fqn=fqn, kind=kind, id=given.pop("id", "a"), props=props or {}, raw=raw, **given)


def translated(*records: Found, password: str | None = None) -> Translated:
    """Translate a stage."""
    return translate("shop/prod", records, cipher=Cipher(password) if password else None, root=ROOT)


def item(kind: str, props: JsonObject | None = None, *, password: str | None = None, **given: Any) -> Item:
    """Translate one record that has a counterpart."""
    result = translated(found(kind, props, **given), password=password)
    assert not result.kept, result.kept
    return result.items[0]


def values(kind: str, props: JsonObject | None = None, **given: Any) -> dict[str, Any]:
    """Give the fields of a translated resource."""
    return item(kind, props, **given).made.resource.__dict__


def kept(kind: str, props: JsonObject | None = None, **given: Any) -> Kept:
    """Translate one record that is kept aside."""
    result = translated(found(kind, props, **given))
    assert not result.items
    return result.kept[0]


def plan(*records: Found, existing: dict[str, Record] | None = None, password: str | None = None) -> Plan:
    """Make records of a stage."""
    return compose(translated(*records, password=password), existing or {}, password=password)


# Kinds


def test_paths_that_were_not_said_are_ids() -> None:
    """A file or a folder without a path lies where its id says, as there."""
    made = values("fs::Folder", {"clean": True, "recursive": False})
    assert (made["path"], made["clean"], made["absolute_path"]) == ("a", True, "/srv/shop/a")
    assert values("fs::File", {"content": "é"})["size"] == 2
    assert values("fs::File", {"path": "/etc/motd", "content": ""})["absolute_path"] == "/etc/motd"


def test_a_folder_that_was_to_stay_is_retained() -> None:
    """`delete: false` is an option here."""
    assert item("fs::Folder", {"path": "a", "delete": False}).retain
    assert not item("fs::Folder", {"path": "a"}).retain


def test_commands_are_run_by_a_shell() -> None:
    """As they were; patterns are inputs, and what had no value is no variable."""
    made = values("os::Exec", {"command": "make it", "memoize": {"patterns": ["src/**"]}, "env": {"A": "1", "B": None}})
    assert (made["command"], made["inputs"], made["env"]) == (["sh", "-c", "make it"], ["src/**"], {"A": "1"})


def test_random_strings_keep_their_value() -> None:
    """A length counts characters here, whatever it counted there; without a value there is nothing to keep."""
    value = {"value": {"@secret": V1}}
    made = item("random::String", {"length": 3}, output={**value, "encoding": "base64"}, password=PASSWORD)
    assert made.made.resource.__dict__["length"] == 7
    assert made.made.resource.__dict__["value"] == Secret("hello é")
    assert made.made.resource.__dict__["encoding"] == "base64url"
    assert "base64url" in made.notes[0]
    assert kept("random::String", {"length": 3}).why == "its value is not known"


def test_databases() -> None:
    """Jurisdiction and replication as they are said here; an own table for migrations is left out, and said."""
    props = {"jurisdiction": "default", "readReplication": {"mode": "auto"}, "migrationsTable": "done"}
    made = item("cloudflare::D1Database", {**props, "migrationsDir": "sql", "migrationsFiles": []}, **OBJECT)
    fields = made.made.resource.__dict__
    assert (fields["jurisdiction"], fields["read_replication"], fields["migrations_dir"]) == (None, "auto", "sql")
    assert (fields["database_id"], fields["database_name"], fields["name"]) == ("i-1", "there", None)
    assert made.left_out == ["migrations_table"]


def test_buckets() -> None:
    """Hints are in lower case here; what a bucket cannot be told yet is left out, and said."""
    props = {"locationHint": "WEUR", "empty": True, "cors": [{"allowed": {}}], "devDomain": False, "lock": []}
    made = item("cloudflare::R2Bucket", props, output={"name": "photos", "jurisdiction": "eu"})
    fields = made.made.resource.__dict__
    assert (fields["location"], fields["empty_on_delete"], fields["jurisdiction"]) == ("weur", True, "eu")
    assert made.left_out == ["cors"]


def test_workers() -> None:
    """Variables are bindings, the folder is in the path, what is on by default there is said; the rest is left out."""
    reference = {"Symbol(alchemy::ResourceKind)": "cloudflare::Queue", "type": "queue"}
    props = {
        "entrypoint": "api.ts",
        "cwd": "packages/api",
        "url": False,
        "env": {"MODE": "fast"},
        "bindings": {"Q": reference, "AI": {"type": "ai"}, "J": {"type": "json", "json": {"a": 1}}, "L": [1]},
        "crons": ["* * * * *"],
    }
    made = item("cloudflare::Worker", props, output={"name": "api", "compatibilityDate": "2026-01-01"})
    fields = made.made.resource.__dict__
    assert fields["entrypoint"] == "packages/api/api.ts"
    assert (fields["workers_dev"], fields["bundle"], fields["observability"]) == (False, "esbuild", True)
    assert fields["bindings"] == {"MODE": "fast", "J": {"a": 1}, "L": [1]}
    assert made.made.data == {"compatibility_date": "2026-01-01"}
    assert sorted(made.left_out) == ["bindings.AI", "bindings.Q", "crons"]
    off = values("cloudflare::Worker", {"script": "x", "observability": {"enabled": False}}, output={"name": "api"})
    assert off["observability"] is False


def test_a_worker_bound_to_a_worker() -> None:
    """References name the object by its outputs, as a run would write them."""
    there = {
        "Symbol(alchemy::ResourceKind)": "cloudflare::Worker",
        "Symbol(alchemy::ResourceID)": "b",
        "Symbol(alchemy::ResourceFQN)": "shop/prod/b",
        "name": "b-there",
    }
    output = {"name": "a-there", "accountId": "acc"}
    one = found("cloudflare::Worker", {"script": "x", "bindings": {"B": there}}, output=output)
    other = found("cloudflare::Worker", {"script": "x"}, fqn="shop/prod/b", output={"name": "b-there"})
    records = {record.fqn: record for record in plan(one, other).records}
    payload = records["shop/prod/a"].props["bindings"]["B"]["@resource"]
    assert payload["values"] == {"script_name": "b-there"}
    assert records["shop/prod/a"].deps == ["shop/prod/b"]


# What has no counterpart


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (found("cloudflare::Queue"), "there is no such kind here"),
        (found("fs::File", {"path": "x"}), "its content is not known"),
        (found("fs::File", {"path": 1, "content": ""}), "it has no path"),
        (found("fs::Folder", {"path": "a", "clean": "yes"}), "its 'clean' must be bool here"),
        (found("fs::CopyFile", {"dest": "x"}), "its 'source' is not known"),
        (found("cloudflare::KVNamespace"), "it has no namespace_id: it was never made at Cloudflare"),
        (found("cloudflare::R2Bucket", {"locationHint": "mars"}, output={"name": "n"}), "its 'location' must be "),
        (found("fs::Folder", fqn="shop/prod/a\\b"), "'a\\\\b' cannot be a name: it contains"),
        (found("fs::Folder", status=Status.CREATING), "its create was never finished"),
        (found("fs::Folder", status=Status.DELETING), "it was being deleted"),
        (found("os::Exec", {"command": "x"}, output={"exitCode": "0"}), "its 'exit_code' must be int here"),
    ],
)
def test_reasons_to_keep_aside(record: Found, why: str) -> None:
    """Each is said, and the record is kept as it was."""
    result = translated(record)
    assert not result.items
    assert result.kept[0].why.startswith(why)
    assert result.kept[0].raw == record.raw


def test_a_scope_that_cannot_be_called_so_is_kept_aside() -> None:
    """With its data."""
    result = translated(found(SCOPE_KIND, fqn="shop/prod/a\tb", data={"x": 1}))
    assert [one.fqn for one in result.kept] == ["shop/prod/a\tb"]


def test_what_handlers_kept_is_said() -> None:
    """It means nothing to another handler."""
    assert item("fs::Folder", data={"seen": 1}).left_out == ["data"]


def test_of_two_records_with_one_name_the_second_is_kept_aside() -> None:
    """An id with a `/` may be what a scope and an id are together."""
    one = found("fs::Folder", fqn="shop/prod/s/a", id="a")
    other = found("fs::Folder", fqn="shop/prod/s/a", id="s/a")
    result = translated(one, other)
    assert [made.found for made in result.items] == [one]
    assert [(each.fqn, each.why) for each in result.kept] == [
        ("shop/prod/s/a", "another record has the same name here")
    ]


def test_a_stage_must_be_one_here() -> None:
    """`test` is taken."""
    with pytest.raises(DeclarationError, match="'test' cannot be a stage name"):
        translate("shop/test", [], cipher=None, root=ROOT)


# Unfinished updates and replacements


def test_an_unfinished_update_is_applied_again() -> None:
    """What was applied last and what was being applied are told apart."""
    made = item(
        "fs::File", {"path": "x", "content": "new"}, old_props={"path": "x", "content": "old"}, status=Status.UPDATING
    )
    assert (made.status, made.made.resource.__dict__["content"]) == (Status.UPDATING, "old")
    assert made.attempted is not None
    assert made.attempted.resource.__dict__["content"] == "new"
    record = next(one for one in plan(made.found).records if one.fqn == "shop/prod/a")
    assert record.attempted is not None
    assert (record.props["content"], record.attempted["content"]) == ("old", "new")


def pending(kind: str, fqn: str, **props: Any) -> JsonObject:
    """Give what a scope keeps of an object that was replaced."""
    resource = {"Symbol(alchemy::ResourceKind)": kind, "Symbol(alchemy::ResourceFQN)": fqn, "id": "i-0", "name": "old"}
    return {"resource": resource, "oldProps": props}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (pending("cloudflare::D1Database", "shop/prod/gone"), "what replaced it is not imported"),
        (pending("cloudflare::R2Bucket", "shop/prod/a"), "what replaced it is not imported"),
        (pending("cloudflare::D1Database", "shop/prod/a", delete=False), "was to be left alone"),
    ],
)
def test_replaced_objects_without_a_holder_are_kept_aside(entry: JsonObject, why: str) -> None:
    """They are named, so that somebody can delete them."""
    stage = found(SCOPE_KIND, fqn="shop/prod", data={"pendingDeletions": [entry]})
    result = translated(found("cloudflare::D1Database", **OBJECT), stage)
    assert not result.items[0].old
    assert why in result.kept[0].why
    assert result.kept[0].raw == entry


@pytest.mark.parametrize("entries", ["x", [1], [{"resource": 1}]])
def test_a_list_of_replaced_objects_that_is_none_is_an_error(entries: Any) -> None:
    """Nothing is overlooked."""
    with pytest.raises(StateDamaged, match="'pendingDeletions'"):
        translated(found(SCOPE_KIND, fqn="shop/prod", data={"pendingDeletions": entries}))


# Values


@pytest.mark.parametrize("envelope", [LEGACY, V1])
def test_both_forms_of_secrets_are_sealed_anew(envelope: Any) -> None:
    """As texts, and as what JSON can hold; bound to the record."""
    props = {"script": "x", "bindings": {"KEY": {"@secret": envelope}}}
    worker = found("cloudflare::Worker", props, output={"name": "w", "accountId": "acc"})
    record = plan(worker, password=PASSWORD).records[-1]
    sealed = record.props["bindings"]["KEY"]["@secret"]
    assert sealed["version"] == "v2"
    assert Cipher(PASSWORD).open(sealed, context="shop/prod/a").decode() == "hello é"


def test_values_that_json_has_no_word_for() -> None:
    """Dates, bytes and objects in secrets come as what they were; what served the program alone is nothing."""
    sealed = json.loads((Path(__file__).parent / "fixtures/shop/alchemy-ts/shop/dev/badge.json").read_text())
    data = {
        "when": {"@date": "2026-11-21T12:50:01.326Z"},
        "raw": {"@buffer": "aGk="},
        "scope": {"@scope": None},
        "symbol": {"@symbol": "Symbol(x)"},
        "schema": {"@schema": {}},
        "list": [{"@date": "2026-11-21T12:50:01Z"}],
        "token": sealed["output"]["token"],
    }
    scope = translated(found(SCOPE_KIND, fqn="shop/prod/s", data=data), password=PASSWORD).scopes[0]
    assert scope.data["when"] == datetime(2026, 11, 21, 12, 50, 1, 326000, tzinfo=UTC)
    assert scope.data["raw"] == b"hi"
    assert (scope.data["scope"], scope.data["symbol"], scope.data["schema"]) == (None, None, None)
    assert isinstance(scope.data["token"], Secret)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"@date": "yesterday"}, StateDamaged, "'yesterday' is not a date"),
        ({"@buffer": "!"}, StateDamaged, "a buffer in it is not base64"),
        ({"@secret": {"data": V1}}, StateDamaged, "opens, and holds neither text nor JSON"),
        (
            {"@secret": {**V1, "version": "v3"}},
            SecretError,
            "in the form 'v3', which this version cannot read",
        ),
        ({"@secret": {**V1, "tag": "AAAA"}}, SecretError, "its tag has 3 bytes, not 16"),
    ],
)
def test_values_that_cannot_be(value: Any, error: type[Exception], message: str) -> None:
    """They are errors that name the record, and show nothing of a secret."""
    with pytest.raises(error, match=message) as raised:
        translated(found(SCOPE_KIND, fqn="shop/prod/s", data={"x": value}), password=PASSWORD)
    assert "hello" not in str(raised.value)


# Records


def test_the_account_is_the_one_that_others_name() -> None:
    """A bucket says it; without any that does, the environment must."""
    bucket = found("cloudflare::R2Bucket", fqn="shop/prod/b", output={"name": "b", "accountId": "acc"})
    database = found("cloudflare::D1Database", **OBJECT)
    records = {record.fqn: record for record in plan(bucket, database).records}
    assert records["shop/prod/a"].target == records["shop/prod/b"].target == "cloudflare:acc"
    with pytest.raises(ConfigurationError, match="shop/prod/a does not say in which Cloudflare account it is"):
        plan(database)


def test_the_environment_names_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the Cloudflare on this machine told apart; several accounts are kept apart too."""
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "mine")
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", "http://127.0.0.1:1/client/v4")
    database = found("cloudflare::D1Database", **OBJECT)
    assert plan(database).records[-1].target == "cloudflare-local:mine"
    buckets = [
        found("cloudflare::R2Bucket", fqn=f"shop/prod/{name}", output={"name": name, "accountId": name})
        for name in ("x", "y")
    ]
    targets = {record.fqn: record.target for record in plan(database, *buckets).records}
    assert targets["shop/prod/a"] == "cloudflare-local:mine"
    assert targets["shop/prod/y"] == "cloudflare-local:y"


def test_scopes_that_the_source_leaves_out_are_made() -> None:
    """Where something is imported below what is kept aside, it lies in a scope of that name."""
    result = plan(found("shop::Site", fqn="shop/prod/site"), found("fs::Folder", fqn="shop/prod/site/a"))
    assert result.scopes == ["shop/prod/site"]
    assert [one.fqn for one in result.kept] == ["shop/prod/site"]


def record(fqn: str, kind: str = "fs::Folder", **given: Any) -> Record:
    """Give a record that is there already."""
    return Record(kind=kind, id=fqn.rpartition("/")[2], fqn=fqn, status=Status.CREATED, **given)


@pytest.mark.parametrize(
    ("existing", "message"),
    [
        (record("shop/prod/s/a"), "has this already: shop/prod/s/a;"),
        (record("shop/prod/s"), "has this already: shop/prod/s;"),
        (record("shop/prod", STAGE_KIND, output={"ledger": {"shop/prod/s/a": {}}}), "has this already: shop/prod/s/a;"),
        (
            record("shop/prod/s", SCOPE_KIND, props={"state_store": "file:x"}),
            "keeps its state in a store of its own",
        ),
    ],
)
def test_nothing_is_written_over(existing: Record, message: str) -> None:
    """Neither a record, nor what a reset has forgotten, nor beside a scope's own store."""
    with pytest.raises(StateError, match=message):
        plan(found("fs::Folder", fqn="shop/prod/s/a"), existing={existing.fqn: existing})


def test_an_existing_scope_is_joined() -> None:
    """It is written only when it gets data, and keeps what it has."""
    scope = record("shop/prod/s", SCOPE_KIND, data={"mine": 1}, seq=5, seen=9)
    below = found("fs::Folder", fqn="shop/prod/s/a")
    assert plan(below, existing={scope.fqn: scope}).scopes == []
    with_data = found(SCOPE_KIND, fqn="shop/prod/s", data={"theirs": 2})
    result = plan(below, with_data, existing={scope.fqn: scope})
    joined = next(one for one in result.records if one.fqn == scope.fqn)
    assert (joined.data, joined.seq) == ({"mine": 1, "theirs": 2}, 5)
    assert min(one.seq for one in result.records if one.fqn.endswith("/a")) > 9
    assert scope.data == {"mine": 1}


def test_references_stand_for_resources() -> None:
    """A bucket's keeps its jurisdiction."""
    output = {"name": "b", "jurisdiction": "eu", "type": "r2_bucket"}
    there = {
        "Symbol(alchemy::ResourceKind)": "cloudflare::R2Bucket",
        "Symbol(alchemy::ResourceID)": "site/b",
        "Symbol(alchemy::ResourceFQN)": "shop/prod/site/b",
        **output,
    }
    bound = values("cloudflare::Worker", {"script": "x", "bindings": {"B": there}}, output={"name": "w"})["bindings"][
        "B"
    ]
    assert isinstance(bound, R2Bucket)
    assert (bound.id, bound.fqn, bound.bucket_name, bound.jurisdiction) == ("b", "shop/prod/site/b", "b", "eu")
