"""An upload's `exports`: what a Worker's Durable Object classes shall be, reconciled with what they are.

```json
{"Lobby": {"type": "durable-object", "storage": "sqlite"},
 "Room": {"type": "durable-object", "state": "renamed", "renamed_to": "Lobby"}}
```

Every class that has a namespace needs an entry, so that none is forgotten. All that is wrong is told at once, as
`errors[0].meta.details`, under the code 100402. A class goes to another Worker in two uploads: the one that takes it
says `expecting-transfer`, then the one that gives it `transferred`.

Source: https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from alchemy.local.control.classes import Classes
from alchemy.local.control.envelope import ApiError
from alchemy.local.control.shapes import object_or_none
from alchemy.local.runtime.plane import Workers
from alchemy.local.runtime.worker import Worker

RECONCILIATION = 100402
Entry = Mapping[str, Any]

_FIELDS: Mapping[str, frozenset[str]] = {
    "created": frozenset({"storage"}),
    "deleted": frozenset(),
    "renamed": frozenset({"renamed_to"}),
    "transferred": frozenset({"transferred_to"}),
    "expecting-transfer": frozenset({"storage", "transfer_from"}),
}
_LIVE = frozenset({"created", "expecting-transfer"})


@dataclass
class Reconciled:
    """What came of it.

    Attributes:
        pending: classes that this Worker expects from another, with that one's name.
        given: classes that went to another Worker, with that one's name.
        summary: as the answer to the upload has it.
        gone: classes that are deleted, and may not be in the code any more.
        live: classes that must be in the code.
    """

    pending: dict[str, str] = field(default_factory=dict[str, str])
    given: dict[str, str] = field(default_factory=dict[str, str])
    summary: dict[str, Any] = field(default_factory=dict[str, Any])
    gone: frozenset[str] = frozenset()
    live: frozenset[str] = frozenset()


def read(given: object) -> dict[str, Entry]:
    """Give the entries for Durable Objects, as they were checked one by one.

    Raises:
        ApiError: 100402 for entries that are not what their state asks for, 10021 for something else altogether.
    """
    exports = object_or_none(given)
    if exports is None:
        raise ApiError(400, 10021, "The 'exports' must be an object.")
    entries: dict[str, Entry] = {}
    wrong: list[dict[str, Any]] = []
    for name, value in exports.items():
        entry = object_or_none(value) or {}
        if entry.get("type") == "worker":
            continue
        entries[name] = entry
        why = _malformed(name, entry, exports)
        if why:
            wrong.append(_detail("invalid_export", name, why))
    _refuse(wrong)
    return entries


def _malformed(name: str, entry: Entry, exports: Mapping[str, Any]) -> str | None:
    if entry.get("type") != "durable-object":
        return f"'{name}' must be an object of the type 'durable-object'."
    state = _state(entry)
    if state not in _FIELDS:
        return f"'{state}' is not a state of a Durable Object class."
    present = frozenset(key for key in entry.keys() - {"type", "state"} if entry[key] is not None)
    if present != _FIELDS[state]:
        wanted = ", ".join(sorted(_FIELDS[state])) or "nothing else"
        return f"an entry that is '{state}' has {wanted}, and not {', '.join(sorted(present)) or 'nothing'}."
    if state in _LIVE and entry["storage"] != "sqlite":
        return "a new namespace has the storage 'sqlite'."
    if state == "renamed":
        target = object_or_none(exports.get(str(entry["renamed_to"]))) or {}
        if entry["renamed_to"] == name or _state(target) != "created" or not target:
            return f"'{entry['renamed_to']}' must be another class, which is live in the same exports."
    return None


def reconcile(name: str, workers: Workers, classes: Classes, entries: Mapping[str, Entry]) -> Reconciled:
    """Make the classes of the Worker `name` what `entries` say.

    Raises:
        ApiError: 100402; all that is in the way.
    """
    before = frozenset(classes.own)
    current = workers.get(name)
    done = _Reconciling(name, workers, classes, dict(current.pending) if current else {})
    wrong = [
        _detail("orphaned_provisioned_namespace", each, f"A namespace exists for '{each}', and no entry declares it.")
        for each in sorted(before - entries.keys())
    ]
    # What goes makes room before anything comes.
    for state in ("deleted", "transferred", "renamed", "expecting-transfer", "created"):
        act: Callable[[str, Entry], dict[str, Any] | None] = getattr(done, state.replace("-", "_"))
        for each, entry in entries.items():
            problem = act(each, entry) if _state(entry) == state else None
            if problem:
                wrong.append(problem)
    _refuse(wrong)
    expected = {each for each, entry in entries.items() if _state(entry) == "expecting-transfer"}
    return Reconciled(
        pending={each: source for each, source in done.pending.items() if each in expected},
        given=done.given,
        summary=done.summary,
        gone=frozenset(each for each, entry in entries.items() if _state(entry) == "deleted"),
        live=frozenset(each for each, entry in entries.items() if _state(entry) in _LIVE),
    )


class _Reconciling:
    """Applies one entry after the other; each method gives what is wrong with its entry, if anything is."""

    def __init__(self, name: str, workers: Workers, classes: Classes, pending: dict[str, str]) -> None:
        self.name = name
        self.workers = workers
        self.classes = classes
        self.pending = pending
        self.given: dict[str, str] = {}
        lists = ("created", "updated", "deleted", "renamed", "transferred", "transfer_pending")
        self.summary: dict[str, Any] = {each: [] for each in (*lists, "warnings", "info", "removable_entries")}

    def deleted(self, name: str, _entry: Entry) -> dict[str, Any] | None:
        if name not in self.classes.own:
            self._stale(name)
            return None
        bound = self.classes.bound(name)
        if bound:
            why = f"Other Workers are bound to '{name}'."
            return {
                **_detail("tombstone_delete_blocked_by_external_bindings", name, why),
                "referencing_scripts": bound,
            }
        self.classes.remove(name)
        self.summary["deleted"].append(name)
        return None

    def renamed(self, name: str, entry: Entry) -> dict[str, Any] | None:
        target = str(entry["renamed_to"])
        if name not in self.classes.own:
            self._stale(name)
            return None
        if target in self.classes.own:
            return _detail("tombstone_renamed_to_occupied", name, f"There is a namespace for '{target}' already.")
        self.classes.move((self.name, name), (self.name, target))
        self.summary["renamed"].append({"from": name, "to": target})
        return None

    def transferred(self, name: str, entry: Entry) -> dict[str, Any] | None:
        target = str(entry["transferred_to"])
        if name not in self.classes.own:
            self._stale(name)
            return None
        worker = self.workers.get(target)
        if worker is None:
            return _detail("transferred_target_missing", name, f"There is no Worker '{target}'.")
        if worker.pending.get(name) != self.name:
            why = f"'{target}' does not expect '{name}' from '{self.name}'."
            return _detail("transferred_pending_not_found", name, why)
        self.classes.move((self.name, name), (target, name))
        self.given[name] = target
        self.summary["transferred"].append({"class": name, "to": target, "phase": "committed"})
        return None

    def expecting_transfer(self, name: str, entry: Entry) -> dict[str, Any] | None:
        source = str(entry["transfer_from"])
        if name in self.classes.own:
            return _detail("phase_one_transfer_target_class_provisioned", name, f"'{self.name}' has '{name}' already.")
        if source not in self.workers:
            return _detail("phase_one_transfer_source_missing", name, f"There is no Worker '{source}'.")
        if name not in self.classes.of(source):
            why = f"'{source}' has no namespace for '{name}'."
            return _detail("phase_one_transfer_source_namespace_missing", name, why)
        if self.pending.get(name, source) != source:
            why = f"'{name}' is expected from '{self.pending[name]}' already."
            return _detail("phase_one_transfer_duplicate", name, why)
        self.pending[name] = source
        self.summary["transfer_pending"].append({"class": name, "from": source})
        return None

    def created(self, name: str, _entry: Entry) -> dict[str, Any] | None:
        if name not in self.classes.own:
            self.classes.add(name)
            self.summary["created"].append(name)
        return None

    def _stale(self, name: str) -> None:
        why = f"The entry for '{name}' has no effect: there is no such namespace."
        self.summary["info"].append(_detail("stale_tombstone", name, why))
        self.summary["removable_entries"].append(name)


def refuse_code(reconciled: Reconciled, worker: Worker | None, missing: Iterable[str]) -> None:
    """Refuse code that does not export what the entries say is live, or still exports what they delete.

    Args:
        worker: as it was before.
        missing: the classes of both kinds that the code does not export.

    Raises:
        ApiError: 100402.
    """
    absent = set(missing)
    had = frozenset(worker.classes if worker else ())
    wrong = [
        _detail("tombstone_delete_class_still_in_code", each, f"'{each}' is deleted, and the script exports it.")
        for each in sorted(reconciled.gone - absent)
    ]
    for each in sorted(reconciled.live & absent):
        scenario = "config_export_not_in_code" if each in had else "config_references_nonexistent_class"
        wrong.append(_detail(scenario, each, f"The script does not export the class '{each}'."))
    _refuse(wrong)


def _state(entry: Entry) -> str:
    return str(entry.get("state") or "created")


def _detail(scenario: str, name: str, message: str) -> dict[str, Any]:
    return {"class": name, "scenario": scenario, "message": message}


def _refuse(details: list[dict[str, Any]]) -> None:
    if details:
        raise ApiError(400, RECONCILIATION, "Durable Object exports reconciliation failed", meta={"details": details})
