"""What has to become of a Worker's Durable Object classes: from what was, what is and what is wanted. Pure.

A namespace is known by its id, which Cloudflare gives it and which stays when its class is renamed or moves. So what
is computed from the namespaces of the account holds whatever part of an earlier upload took effect, and a second
computation after an upload has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from alchemy.cloudflare.durable_object_namespace import DurableObjectNamespace
from alchemy.errors import DeclarationError

Metadata = dict[str, Any]
_TAG = "alchemy-"
COMES_FIRST = (
    "if another Worker is to have it, that one comes first: declare it before and await it, or name it in "
    "options=Options(depends_on=[…])"
)


class Namespace(NamedTuple):
    """A namespace as the account has it."""

    id: str
    class_name: str
    script: str


class Known(NamedTuple):
    """What a Worker's record keeps of one of its namespaces.

    Attributes:
        class_name: the class of the last upload, or of the one that was begun.
        namespace: its id; empty before the first upload.
        empty_on_delete: it may be deleted with its objects.
    """

    class_name: str
    namespace: str = ""
    empty_on_delete: bool = False


class Move(NamedTuple):
    """A class that another Worker hands over."""

    fqn: str
    class_name: str
    source: Namespace


@dataclass(frozen=True, slots=True)
class Plan:
    """What one upload has to do.

    Attributes:
        live: the classes that the Worker has afterwards, those that come from other Workers aside.
        new: those of them that have no namespace yet.
        renamed: from, to.
        leaving: namespaces that nothing is bound to any more.
        moves: classes that come from other Workers.
        found: the namespace of each declared one, by FQN, where there is one on this script.
    """

    live: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    leaving: tuple[Namespace, ...] = ()
    moves: tuple[Move, ...] = ()
    found: Mapping[str, Namespace] = field(default_factory=dict[str, Namespace])

    @property
    def has_work(self) -> bool:
        """Whether anything is to become another than it is."""
        return bool(self.new or self.renamed or self.leaving or self.moves)


def own_classes(name: str, bindings: Mapping[str, Any]) -> dict[str, DurableObjectNamespace]:
    """Give the namespaces among the bindings whose classes are of the Worker `name` itself, by FQN.

    Raises:
        DeclarationError: two of them are of one class.
    """
    own = {
        value.fqn: value
        for value in bindings.values()
        if isinstance(value, DurableObjectNamespace) and value.script in (None, name)
    }
    seen: dict[str, str] = {}
    for value in own.values():
        if value.class_name in seen:
            raise DeclarationError(
                f"{seen[value.class_name]!r} and {value.id!r} are both of the class {value.class_name!r} of the "
                f"Worker {name!r}",
                hint="bind the same DurableObjectNamespace twice instead",
            )
        seen[value.class_name] = value.id
    return own


def plan(
    name: str,
    wanted: Mapping[str, str],
    known: Mapping[str, Known],
    elsewhere: Mapping[str, Known],
    account: Iterable[Namespace],
    *,
    unbound: Collection[str] = (),
) -> Plan:
    """Compare.

    Args:
        name: the script.
        wanted: class names by the FQN of their namespaces.
        known: what the Worker's record keeps, by FQN.
        elsewhere: what other records keep of namespaces that are, or were, of other scripts.
        account: all namespaces that there are.
        unbound: FQNs in `known` that are not wanted here, and which the program declares all the same.

    Raises:
        DeclarationError: it cannot be done in one deploy; says how it can.
    """
    account = list(account)
    here = {each.class_name: each for each in account if each.script == name}
    found = _matched(wanted, known, here)
    by_id = {each.id: each for each in account if each.script != name}
    sources = {fqn: by_id.get(elsewhere[fqn].namespace) for fqn in wanted if fqn in elsewhere and fqn not in found}
    moves = [Move(fqn, wanted[fqn], source) for fqn, source in sources.items() if source is not None]
    moving = {move.fqn for move in moves}
    unknown = {fqn: class_name for fqn, class_name in wanted.items() if fqn not in found and fqn not in moving}
    found |= _of_their_class(unknown, found, here, _matched(unbound, known, here))
    kept = {each.id for each in found.values()}
    made = Plan(
        live=tuple(class_name for fqn, class_name in wanted.items() if fqn not in moving),
        new=tuple(class_name for fqn, class_name in wanted.items() if fqn not in found and fqn not in moving),
        renamed=tuple((found[fqn].class_name, to) for fqn, to in wanted.items() if _is_other(found.get(fqn), to)),
        leaving=tuple(each for each in here.values() if each.id not in kept),
        moves=tuple(moves),
        found=found,
    )
    _check(name, made)
    return made


def _matched(fqns: Iterable[str], known: Mapping[str, Known], here: Mapping[str, Namespace]) -> dict[str, Namespace]:
    """Say which of some namespaces, by class, a record knows: by its id, or by its class before that is known."""
    by_id = {each.id: each for each in here.values()}
    found: dict[str, Namespace] = {}
    for fqn in fqns:
        before = known.get(fqn)
        match = before and (by_id.get(before.namespace) if before.namespace else here.get(before.class_name))
        if match:
            found[fqn] = match
    return found


def _of_their_class(
    unknown: Mapping[str, str],
    found: Mapping[str, Namespace],
    here: Mapping[str, Namespace],
    others: Mapping[str, Namespace],
) -> dict[str, Namespace]:
    """Find by its class what no record knows: one was lost, or the resource is called otherwise now.

    Args:
        unknown: class names by FQN.
        found: what is known already.
        here: the script's namespaces by class.
        others: those of them that are known to be of resources which the program declares for something else.

    Raises:
        DeclarationError: it is one of the others.
    """
    fqns = {each.id: fqn for fqn, each in others.items()}
    taken = {each.id for each in found.values()}
    matches = {fqn: here[class_name] for fqn, class_name in unknown.items() if class_name in here}
    for fqn, match in matches.items():
        if match.id in fqns:
            owner = fqns[match.id]
            raise DeclarationError(
                f"{fqn} is to have the class {match.class_name!r} of the Worker {match.script!r}, which is that of "
                f"{owner}, and the program still declares {owner}",
                hint=f"{COMES_FIRST}; else give {fqn} another class_name, or {owner} another id",
            )
    return {fqn: match for fqn, match in matches.items() if match.id not in taken}


def _is_other(namespace: Namespace | None, class_name: str) -> bool:
    return namespace is not None and namespace.class_name != class_name


def _check(name: str, made: Plan) -> None:
    """Refuse what would need a class name twice: Cloudflare takes one entry a name."""
    going = {old for old, _ in made.renamed} | {each.class_name for each in made.leaving}
    for move in made.moves:
        if move.class_name != move.source.class_name:
            raise DeclarationError(
                f"the class {move.source.class_name!r} of the Worker {move.source.script!r} is to move to {name!r} "
                f"and to be called {move.class_name!r} in one deploy",
                hint=f"deploy twice: first with class_name={move.source.class_name!r}, then with the other",
            )
    again = sorted(going & {*made.live, *(move.class_name for move in made.moves)})
    if again:
        raise DeclarationError(
            f"the class {again[0]!r} of the Worker {name!r} is to go and to come in one deploy",
            hint="deploy first what frees the name, and then what takes it; or choose another class_name",
        )


def exports(made: Plan) -> Metadata:
    """Give the entries for Cloudflare's declarative form."""
    kind = {"type": "durable-object"}
    entries: Metadata = {class_name: {**kind, "storage": "sqlite"} for class_name in made.live}
    for old, new in made.renamed:
        entries[old] = {**kind, "state": "renamed", "renamed_to": new}
    for each in made.leaving:
        entries[each.class_name] = {**kind, "state": "deleted"}
    for move in made.moves:
        entries[move.class_name] = {
            **kind,
            "state": "expecting-transfer",
            "storage": "sqlite",
            "transfer_from": move.source.script,
        }
    return entries


def handover(moves: Sequence[Move], account: Iterable[Namespace], to: str) -> Metadata:
    """Give the entries with which the one Worker that has these classes hands them over to the script `to`."""
    kind = {"type": "durable-object"}
    source = moves[0].source.script
    entries: Metadata = {each.class_name: {**kind, "storage": "sqlite"} for each in account if each.script == source}
    given = {move.source.class_name: {**kind, "state": "transferred", "transferred_to": to} for move in moves}
    return {**entries, **given}


def migrations(made: Plan, tag: str | None) -> Metadata | None:
    """Give the steps for the older form, with a tag that follows the script's; `None` when there are none."""
    steps: list[Metadata] = []
    if made.leaving:
        steps.append({"deleted_classes": [each.class_name for each in made.leaving]})
    if made.renamed:
        steps.append({"renamed_classes": [{"from": old, "to": new} for old, new in made.renamed]})
    if made.moves:
        handed = [
            {"from": move.source.class_name, "from_script": move.source.script, "to": move.class_name}
            for move in made.moves
        ]
        steps.append({"transferred_classes": handed})
    if made.new:
        steps.append({"new_sqlite_classes": list(made.new)})
    if not steps:
        return None
    expected = {"old_tag": tag} if tag else {}
    return {**expected, "new_tag": _next_tag(tag), "steps": steps}


def _next_tag(tag: str | None) -> str:
    number = (tag or "").removeprefix(_TAG)
    return f"{_TAG}{int(number) + 1 if number.isdecimal() else 1}"


def remembered(data: Mapping[str, Any]) -> dict[str, Known]:
    """Read what a record keeps."""
    kept: Mapping[str, Mapping[str, Any]] = data.get("classes") or {}
    return {fqn: Known(**entry) for fqn, entry in kept.items()}


def following(known: Mapping[str, Known], name: str, before: Mapping[str, Any]) -> dict[str, Known]:
    """Give what the record of the script `name` keeps under the FQNs of today.

    Args:
        before: the bindings of the last upload. They follow when a record moves (an alias, `state mv`); what a
            provider keeps does not.
    """
    names = {value.class_name: fqn for fqn, value in own_classes(name, before).items()}
    return {names.get(each.class_name, fqn): each for fqn, each in known.items()}


def to_remember(known: Mapping[str, Known]) -> dict[str, Any]:
    """Give it as a record keeps it."""
    return {fqn: each._asdict() for fqn, each in known.items()}


def declared_as(leaving: Iterable[Namespace], known: Mapping[str, Known]) -> dict[str, str]:
    """Give the FQNs that a record has for namespaces which leave, by their ids."""
    here = {each.class_name: each for each in leaving}
    return {each.id: fqn for fqn, each in _matched(known, known, here).items()}


def expected(made: Plan, own: Mapping[str, DurableObjectNamespace], known: Mapping[str, Known]) -> dict[str, Known]:
    """Say what to keep before an upload: what will be, and what is leaving, with all that is known of it."""
    found = made.found
    coming = {
        fqn: Known(value.class_name, found[fqn].id if fqn in found else "", value.empty_on_delete)
        for fqn, value in own.items()
    }
    arriving = {move.fqn: coming[move.fqn]._replace(namespace=move.source.id) for move in made.moves}
    left = declared_as(made.leaving, known)
    leaving = {fqn: known[fqn]._replace(namespace=id) for id, fqn in left.items() if fqn not in own}
    return {**coming, **arriving, **leaving}
