"""From what a source holds to this package's resources, in values; secrets are opened. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alchemy.crypto import Cipher
from alchemy.errors import DeclarationError
from alchemy.importing.decoding import Decoder
from alchemy.importing.found import Found, broken
from alchemy.importing.kinds import Draft, Unlike, classes, is_allowed
from alchemy.names import check_app, check_id, check_stage
from alchemy.resource import Resource, make_detached
from alchemy.state import Json, JsonObject, Status, is_array, is_object

PENDING = "pendingDeletions"
"""What a scope of Alchemy for TypeScript keeps of objects that were replaced and not deleted yet."""

_QUIET = frozenset(
    {"account_id", "adopt", "api_key", "api_token", "base_url", "delete", "dev", "email", "force", "profile", "quiet"}
)
"""Inputs that say how something is done and not what, or that are options here."""


@dataclass(slots=True, kw_only=True)
class Made:
    """One object as it was found: a resource with inputs and outputs, not sealed yet.

    Attributes:
        account: of Cloudflare, when the record says it.
    """

    resource: Resource
    data: JsonObject = field(default_factory=dict[str, Json])
    account: str | None = None


@dataclass(slots=True, kw_only=True)
class Item:
    """One resource to be imported.

    Attributes:
        status: `updating` when its last update was never finished.
        attempted: the inputs that were being applied then.
        old: objects that it had before, and that are still to be deleted.
        left_out: inputs that have no counterpart; the record as it was is kept aside too.
    """

    found: Found
    fqn: str
    made: Made
    status: Status
    retain: bool
    attempted: Made | None = None
    old: list[Made] = field(default_factory=list[Made])
    left_out: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


@dataclass(slots=True, kw_only=True)
class ScopeItem:
    """One scope to be imported, the stage included: its data in values."""

    found: Found
    fqn: str
    data: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that is kept aside, and why."""

    fqn: str
    kind: str
    why: str
    raw: Json


@dataclass(slots=True)
class Translated:
    """A stage as translated.

    Attributes:
        unit: its chain.
        order: every name of the source in it, with its place among its siblings; what is kept aside too.
    """

    unit: str
    items: list[Item] = field(default_factory=list[Item])
    scopes: list[ScopeItem] = field(default_factory=list[ScopeItem])
    kept: list[Kept] = field(default_factory=list[Kept])
    order: dict[str, int] = field(default_factory=dict[str, int])


def translate(unit: str, found: Sequence[Found], *, cipher: Cipher | None, root: Path) -> Translated:
    """Translate a stage; blocks for a tenth of a second for every secret of Alchemy for TypeScript.

    Args:
        unit: the stage's chain.
        cipher: of the password that the source's secrets were encrypted with; `None`: there is none.
        root: where the source's relative paths start.

    Raises:
        ConfigurationError: there are secrets and no password.
        SecretError: a secret does not open.
        StateDamaged: a value in it cannot be what it says.
        DeclarationError: an application or a stage cannot be called so here.
    """
    app, _, stage = unit.partition("/")
    check_app(app)
    check_stage(stage)
    result = Translated(unit)
    for one in found:
        if one.fqn in result.order:  # `a/b` in a stage, and `b` in its scope `a`: two names there, one here
            result.kept.append(Kept(one.fqn, one.kind, "another record has the same name here", one.raw))
            continue
        result.order[one.fqn] = one.seq
        if one.is_scope:
            _take_scope(result, one, cipher)
        else:
            _take_resource(result, one, cipher, root)
    for scope in result.scopes:
        _take_pending(result, scope, cipher, root)
    return result


def _take_scope(result: Translated, found: Found, cipher: Cipher | None) -> None:
    refusal = _bad_name(found.fqn)
    if refusal:
        result.kept.append(Kept(found.fqn, found.kind, refusal, found.raw))
        return
    decoder = Decoder(cipher, found.fqn, found.where)
    data = {key: decoder.value(value) for key, value in found.data.items() if key != PENDING}
    result.scopes.append(ScopeItem(found=found, fqn=found.fqn, data=data))


def _take_resource(result: Translated, found: Found, cipher: Cipher | None, root: Path) -> None:
    try:
        result.items.append(_item(found, cipher, root))
    except Unlike as unlike:
        result.kept.append(Kept(found.fqn, found.kind, str(unlike), found.raw))


def _item(found: Found, cipher: Cipher | None, root: Path) -> Item:
    if found.kind not in classes():
        raise Unlike("there is no such kind here")
    refusal = _bad_name(found.fqn)
    if refusal:
        raise Unlike(refusal)
    if found.status is Status.CREATING:
        raise Unlike("its create was never finished: finish it where it was begun, or adopt what there is (--adopt)")
    if found.status in (Status.DELETING, Status.DELETED):
        raise Unlike("it was being deleted: finish that where it was begun")
    updating = found.status is Status.UPDATING and found.old_props is not None
    applied = found.old_props if updating and found.old_props else found.props
    made, draft = _make(found, applied, found.output, cipher, root)
    item = Item(found=found, fqn=found.fqn, made=made, status=Status.CREATED, retain=draft.retain)
    item.left_out, item.notes = draft.left_out, draft.notes
    if found.status is not Status.CREATED:
        item.status = Status.UPDATED
    if found.status is Status.UPDATING:
        item.status = Status.UPDATING
        item.attempted, _ = _make(found, found.props, found.output, cipher, root)
        item.notes.append("its last update was never finished: the next deploy applies it again")
    if found.data:
        item.left_out.append("data")
    if "/" in found.id:
        item.notes.append(f"an id holds no '/' here: it is {found.id.rpartition('/')[2]!r} in a scope of its own")
    return item


def _make(found: Found, props: JsonObject, output: JsonObject, cipher: Cipher | None, root: Path) -> tuple[Made, Draft]:
    """Make the resource that inputs and outputs describe.

    Raises:
        Unlike: it has no counterpart.
    """
    cls, adapt = classes()[found.kind]
    decoder = Decoder(cipher, found.fqn, found.where)
    inputs, outputs = decoder.fields(props), decoder.fields(output)
    account = inputs.get("account_id") or outputs.get("account_id")
    draft = Draft(id=found.fqn.rpartition("/")[2], root=root, inputs=inputs, outputs=outputs)
    draft.retain = inputs.get("delete") is False
    adapt(draft)
    values = {**_known_inputs(found, cls, draft), **_known_outputs(cls, draft)}
    resource = make_detached(cls, id=draft.id, fqn=found.fqn, values=values)
    return Made(
        resource=resource,
        data=draft.data,
        account=account if isinstance(account, str) else None,
    ), draft


def _known_inputs(found: Found, cls: type[Resource], draft: Draft) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in draft.inputs.items():
        if name not in cls._spec.inputs:
            if name not in _QUIET and value not in (None, False, [], {}):
                draft.left_out.append(name)
        elif value is None and not is_allowed(cls, name, value):
            continue
        elif is_allowed(cls, name, value):
            known[name] = value
        else:
            raise Unlike(f"its {name!r} must be {cls._spec.inputs[name].described} here")
    missing = [name for name, field in cls._spec.inputs.items() if field.required and name not in known]
    if missing:
        raise Unlike(f"its {missing[0]!r} is not known")
    return known


def _known_outputs(cls: type[Resource], draft: Draft) -> dict[str, Any]:
    """Give the outputs that are known; one that is not stays open, and the next update gives it."""
    names = [name for name in cls._spec.outputs if name in draft.outputs]
    wrong = [name for name in names if not is_allowed(cls, name, draft.outputs[name])]
    if wrong:
        raise Unlike(f"its {wrong[0]!r} must be {cls._spec.outputs[wrong[0]].described} here")
    return {name: draft.outputs[name] for name in names}


def _bad_name(fqn: str) -> str | None:
    """Say why a name cannot be one here."""
    try:
        for part in fqn.split("/"):
            check_id(part, what="name")
    except DeclarationError as error:
        return error.message
    return None


def _take_pending(result: Translated, scope: ScopeItem, cipher: Cipher | None, root: Path) -> None:
    """Give replaced objects to the resource that replaced them; one that has none (any more) is kept aside."""
    pending: Json = scope.found.data.get(PENDING) or []
    if not is_array(pending):
        raise broken(scope.found.where, f"{PENDING!r} is not a list")
    items = {item.fqn: item for item in result.items}
    for entry in pending:
        output = entry.get("resource") if is_object(entry) else None
        if not is_object(entry) or not is_object(output):
            raise broken(scope.found.where, f"an entry of {PENDING!r} says nothing of a resource")
        fqn = str(output.get("Symbol(alchemy::ResourceFQN)"))
        kind = str(output.get("Symbol(alchemy::ResourceKind)"))
        props = entry.get("oldProps")
        holder = items.get(fqn)
        why = "it was replaced and is still to be deleted, and what replaced it is not imported"
        try:
            if holder is not None and holder.found.kind == kind:
                made, draft = _make(holder.found, props if is_object(props) else {}, output, cipher, root)
                if not draft.retain:
                    holder.old.append(made)
                    continue
                why = "it was replaced, and was to be left alone (delete: false)"
        except Unlike as unlike:
            why = str(unlike)
        result.kept.append(Kept(fqn, kind, why, entry))
