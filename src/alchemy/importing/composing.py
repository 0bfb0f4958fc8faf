"""From translated resources to records that stand beside those of a stage: order, places, sealed secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from alchemy.clients.cloudflare import configured_target
from alchemy.crypto import Cipher
from alchemy.engine.keys import CheckedCipher
from alchemy.engine.ledger import LEDGER
from alchemy.engine.loading import load_provider, provider_name
from alchemy.engine.values import Codec, given_values
from alchemy.errors import ConfigurationError, StateError
from alchemy.importing.kinds import named
from alchemy.importing.translating import Item, Kept, Made, ScopeItem, Translated
from alchemy.names import leaf, parent
from alchemy.order import Clock
from alchemy.resource import Resource
from alchemy.state import SCOPE_KIND, STAGE_KIND, Generation, JsonObject, Record, Status, is_object

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """What importing a stage comes to.

    Attributes:
        records: to be written in one commit: resources, scopes, and the stage's own.
        items: the resources among them, with what is to be said of each.
        kept: what is kept aside.
    """

    unit: str
    records: list[Record]
    items: Sequence[Item]
    kept: Sequence[Kept]

    @property
    def scopes(self) -> list[str]:
        """Give the chains of the nested scopes that are written."""
        return [record.fqn for record in self.records if record.kind == SCOPE_KIND]


def compose(translated: Translated, existing: Mapping[str, Record], *, password: str | None) -> Plan:
    """Make the records of a stage; blocks for half a second when there are secrets.

    Args:
        translated: what is to be imported.
        existing: the records that the stage holds, which stay as they are.
        password: what secrets are encrypted with.

    Raises:
        StateError: a record of the same name exists already; names them.
        ConfigurationError: it is not known in which account something lives, or there is no password.
        SecretError: the password is not the one of the stage's other secrets.
    """
    return _Composer(translated, existing, password).plan()


class _Composer:
    def __init__(self, translated: Translated, existing: Mapping[str, Record], password: str | None) -> None:
        self.translated = translated
        self.existing = existing
        self.unit = translated.unit
        self.items = {item.fqn: item for item in translated.items}
        self.scopes = {scope.fqn: scope for scope in translated.scopes}
        known = existing.get(self.unit)
        self.own = (
            msgspec.structs.replace(known)
            if known is not None
            else Record(kind=STAGE_KIND, id=leaf(self.unit), fqn=self.unit, status=Status.CREATED)
        )
        self.cipher = self._make_cipher(password)
        self.clock = Clock()
        for record in existing.values():
            self.clock.advance(record.newest_tick)
        if known is None:
            self.own.seq = self.clock.tick()
        self.accounts = {made.account for made in self._all_made() if made.account}

    def plan(self) -> Plan:
        self._refuse_existing()
        records = list(self._below(self.unit, self._children()))
        if self.unit in self.scopes:
            self._merge_data(self.own, self.scopes[self.unit])
        return Plan(self.unit, [self.own, *records], self.translated.items, self.translated.kept)

    # Secrets

    def _make_cipher(self, password: str | None) -> Cipher | None:
        if password is None:
            return None
        salt = self.own.output.get("salts", {}).get(self.unit)
        return CheckedCipher(
            password,
            key=self.own.output.get("keys", {}).get(self.unit),
            note=self._note_key,
            scope=self.unit,
            salt=bytes.fromhex(salt) if salt else None,
        )

    def _note_key(self, key: str) -> None:
        """Remember by what this stage's secrets are sealed, as a run does: later ones derive the same key."""
        assert self.cipher is not None
        for name, value in (("salts", self.cipher.salt.hex()), ("keys", key)):
            self.own.output = {**self.own.output, name: {**self.own.output.get(name, {}), self.unit: value}}

    def _codec(self, fqn: str) -> Codec:
        return Codec(lambda: self.cipher, fqn)

    # What is there already

    def _refuse_existing(self) -> None:
        """Refuse to write over anything: a record, what a reset has forgotten, a value of a scope."""
        ledger = self.own.output.get(LEDGER, {})
        taken = [fqn for fqn in self.items if fqn in self.existing or fqn in ledger]
        for fqn, scope in self.scopes.items():
            record = self.existing.get(fqn)
            if record is not None and not record.is_scope:
                taken.append(fqn)
            elif record is not None:
                taken += [f"{key!r} in the data of {fqn}" for key in scope.data if key in record.data]
        for chain in sorted({chain for fqn in (*self.items, *self.scopes) for chain in self._chains(fqn)}):
            record = self.existing.get(chain)
            if record is not None and not record.is_scope and chain not in taken:
                taken.append(chain)
            if record is not None and record.props.get("state_store"):
                raise StateError(
                    f"{chain} keeps its state in a store of its own; nothing was imported",
                    hint="take what lies in it out of the source: into such a store nothing can be imported",
                )
        if taken:
            shown = ", ".join(sorted(taken)[:_SHOWN]) + (f" and {len(taken) - _SHOWN} more" if taken[_SHOWN:] else "")
            raise StateError(
                f"{self.unit} has {'this' if len(taken) == 1 else 'these'} already: {shown}; nothing was imported",
                hint="nothing is written over: destroy what is there, or take it out of the source",
            )

    # Order

    def _chains(self, fqn: str) -> Iterator[str]:
        """Give the chains between the stage and a name, outermost last."""
        while (fqn := parent(fqn)) and fqn != self.unit:
            yield fqn

    def _children(self) -> Mapping[str, list[str]]:
        """Give what lies directly in each chain, in the source's order; scopes that it left out are there too."""
        order = dict(self.translated.order)
        names = {fqn for fqn in (*self.items, *self.scopes) if fqn != self.unit}
        for fqn in sorted(names):
            for chain in self._chains(fqn):
                if chain not in self.translated.order:
                    order[chain] = min(order.get(chain, order[fqn]), order[fqn])
        names |= {chain for fqn in names for chain in self._chains(fqn)}
        below: dict[str, list[str]] = {}
        for fqn in sorted(names, key=lambda name: (order.get(name, 0), name)):
            below.setdefault(parent(fqn), []).append(fqn)
        return below

    def _below(self, chain: str, children: Mapping[str, list[str]]) -> Iterator[Record]:
        """Give the records in a chain, with ticks: each was seen before the next was declared, as it was there.

        What the source does not know (who needs whom) is thereby decided as it would have: destroyed in reverse.
        """
        for fqn in children.get(chain, ()):
            known = self.existing.get(fqn)
            if known is not None:  # a scope: what has a resource's name was refused
                record = msgspec.structs.replace(known)
                yield from self._below(fqn, children)
            else:
                seq = self.clock.tick()
                inner = list(self._below(fqn, children))
                record = self._resource(self.items[fqn], seq) if fqn in self.items else self._scope(fqn, seq)
                record.seen = self.clock.tick()
                yield from inner
            if fqn in self.scopes:
                self._merge_data(record, self.scopes[fqn])
            if known is None or record.data != known.data:
                yield record

    # Records

    def _scope(self, fqn: str, seq: int) -> Record:
        return Record(kind=SCOPE_KIND, id=leaf(fqn), fqn=fqn, status=Status.CREATED, seq=seq)

    def _merge_data(self, record: Record, scope: ScopeItem) -> None:
        codec = self._codec(record.fqn)
        record.data = {**record.data, **{key: codec.value(value, name=key) for key, value in scope.data.items()}}

    def _resource(self, item: Item, seq: int) -> Record:
        generation = self._generation(item.made, len(item.old) + 1, seq)
        record = Record(id=leaf(item.fqn), fqn=item.fqn, kind=generation.kind)
        for name in Generation.__struct_fields__:
            setattr(record, name, getattr(generation, name))
        record.status = item.status
        record.attempted = self._props(item.attempted) if item.attempted else None
        record.retain = item.retain
        record.generations = [self._generation(old, number, seq) for number, old in enumerate(item.old, 1)]
        return record

    def _generation(self, made: Made, number: int, seq: int) -> Generation:
        resource = made.resource
        cls = type(resource)
        codec = self._codec(resource.fqn)
        name = provider_name(cls)
        chosen = resource.__dict__.get(load_provider(name, fqn=resource.fqn).name_input)
        return Generation(
            generation=number,
            kind=str(cls._kind),
            provider=name,
            status=Status.CREATED,
            target=self._target(made),
            physical_name=chosen if isinstance(chosen, str) else named(resource),
            props=self._props(made),
            output=codec.some(cls._spec.outputs, given_values(resource)),
            data=made.data,
            seq=seq,
            deps=sorted({fqn for fqn in _referred(resource) if fqn in self.items}),
            verify=True,
        )

    def _props(self, made: Made) -> JsonObject:
        return self._codec(made.resource.fqn).some(type(made.resource)._spec.inputs, given_values(made.resource))

    def _all_made(self) -> Iterator[Made]:
        for item in self.translated.items:
            yield item.made
            yield from item.old

    def _target(self, made: Made) -> str:
        """Say where an object lives: in the account that its record says, else the only one that others say.

        Raises:
            ConfigurationError: nothing says it.
        """
        if not str(type(made.resource)._kind).startswith("cloudflare::"):
            return "machine"
        configured = configured_target()
        account = made.account or (next(iter(self.accounts)) if len(self.accounts) == 1 else None)
        if account:
            return f"{configured.partition(':')[0]}:{account}"
        if configured.endswith(":"):
            raise ConfigurationError(
                f"{made.resource.fqn} does not say in which Cloudflare account it is",
                hint="set CLOUDFLARE_ACCOUNT_ID to the account it was deployed to; nothing was imported",
            )
        return configured


def _referred(resource: Resource) -> Iterator[str]:
    """Give the FQNs of the resources that were passed in: those that a Worker is bound to."""
    bindings: Any = resource.__dict__.get("bindings")
    for value in bindings.values() if is_object(bindings) else ():
        if isinstance(value, Resource):
            yield value.fqn
