"""One run over one unit: what every resource of it shares."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar, cast

import msgspec

from alchemy import state
from alchemy.config import Halt, Settings
from alchemy.crypto import Cipher
from alchemy.engine.keys import CheckedCipher
from alchemy.engine.ledger import strike
from alchemy.engine.lineage import Lineage
from alchemy.engine.loading import load_provider
from alchemy.engine.session import Session
from alchemy.engine.targets import Targets
from alchemy.engine.undeletable import Undeletable
from alchemy.errors import AlchemyError, LeaseLost, StateError
from alchemy.events import (
    Action,
    Bus,
    Event,
    Notice,
    Outcome,
    ResourceFinished,
    ResourceLog,
    ResourceStarted,
)
from alchemy.names import Naming, is_within, leaf, parent, physical_name
from alchemy.order import Clock
from alchemy.ports import StateStore
from alchemy.provider import Context, Provider
from alchemy.resource import Resource
from alchemy.scope import Scope
from alchemy.state import Record

T = TypeVar("T")
_UNLIMITED = nullcontext()


class Stopped(BaseException):
    """The run is being stopped: whatever has not begun does not begin. Not an error, and not caught as one."""


class Destroyed(BaseException):
    """The program runs in the phase `destroy`: everything is gone, and there is nothing to go on with."""


class Run:
    """What all resources of one run share: sessions, clock, limits, providers, and whether it is being stopped.

    Attributes:
        settings: of the stage or test.
        session: the unit's; scopes with a store of their own have others, all in `sessions`.
        doing: what the run says that it does: its phase, or what puts state in order from outside the program.
        failures: why resources failed, in words, by FQN.
    """

    def __init__(self, *, app: str, unit: str, settings: Settings, bus: Bus, halt: Halt | None = None) -> None:
        self.app = app
        self.unit = unit
        self.settings = settings
        self.bus = bus
        self.phase = settings.phase
        self.doing: str = settings.phase
        self.rebuilds = False
        """Whether everything is read back from its provider, and nothing created, changed or destroyed."""
        self.clock = Clock()
        self.epoch = 0
        """The tick at which it began: greater than all of earlier runs, smaller than all that it gives itself."""
        self.lineage = ""
        self.sessions: dict[str, Session] = {}
        self.unread: dict[str, AlchemyError] = {}
        """What is wrong with the state of nested scopes that have a store of their own and were not entered yet."""
        self.opened = False
        self.orphans: frozenset[str] = frozenset()
        """What had left the program when the last run could not finalize."""
        self.declared: set[str] = set()
        """The FQNs of all resources that the program has declared so far."""
        self.undeletable = Undeletable()
        self.begun: set[str] = set()
        """What this run was the first to create, or to begin with: resources and nested scopes; nothing adopted."""
        self._stopping = False
        self._halt = halt or Halt()
        self.lost: LeaseLost | None = None
        """Why the run is over: somebody else has taken what it held."""
        self.started = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        self.observed = Lineage()
        self._limit = asyncio.Semaphore(settings.parallelism)
        self._limits: dict[object, AbstractAsyncContextManager[None]] = {}
        self._providers: dict[str, Provider[Any]] = {}
        self.targets = Targets(unit)
        self._shared: dict[str, asyncio.Future[Any]] = {}
        self.locate: Callable[[Settings], str]
        """Gives the URL of the store that settings ask for."""
        self.address: Callable[[Settings, StateStore], state.JsonObject]
        """Gives what a record keeps of it, which lies in another store: that URL, or where it is in the project."""
        self.scope_settings: dict[str, Settings] = {}
        """Of nested scopes that have a password of their own, by chain."""
        self._ciphers: dict[tuple[str, str], Cipher] = {}

    @property
    def stopping(self) -> bool:
        """Whether nothing new is to begin: the run is being stopped, or everything is."""
        return self._stopping or self._halt.asked

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self._stopping = value
        if not value:  # a test that was stopped cleans up all the same
            self._halt = Halt()

    @property
    def session(self) -> Session:
        """Give the unit's own session."""
        return self.sessions[self.unit]

    def emit(self, event: Event) -> None:
        """Report something."""
        self.bus.emit(event)

    def warn(self, message: str) -> None:
        """Tell people something they should know."""
        self.emit(Notice(level="warning", message=message))

    def finished(
        self,
        fqn: str,
        kind: str,
        outcome: Outcome,
        action: Action | None,
        began: float,
        *,
        error: str | None = None,
        old: bool = False,
    ) -> None:
        """Report how a resource ended, and count it; `began` is when, on the monotonic clock."""
        if not old or outcome == "failed":
            self.counts[outcome] += 1
        if error is not None:
            self.failures[fqn] = error
        seconds = round(time.monotonic() - began, 4) if action is not None else 0.0
        self.bus.emit(
            ResourceFinished(fqn=fqn, kind=kind, outcome=outcome, action=action, seconds=seconds, error=error, old=old)
        )

    def began(self, fqn: str, kind: str, action: Action, *, old: bool = False) -> float:
        """Report that a provider is about to be called; give the time on the monotonic clock."""
        self.bus.emit(ResourceStarted(fqn=fqn, kind=kind, action=action, old=old))
        return time.monotonic()

    # Secrets

    def cipher(self, settings: Settings, chain: str) -> Cipher | None:
        """Give the cipher of a scope; all below the scope that a password was given to share one, and its salt.

        Asked for when a secret is at hand, not before: a new password's salt and its key's id are written into the
        unit's record, so that later runs derive one key and no more, and notice another password.
        """
        password = settings.password
        if password is None:
            return None
        owner = self._password_owner(chain)
        cipher = self._ciphers.get((owner, password))
        if cipher is None:
            salt, key = self._kept("salts", owner), self._kept("keys", owner)
            cipher = self._ciphers[owner, password] = CheckedCipher(
                password,
                salt=bytes.fromhex(salt) if salt else None,
                key=key,
                note=lambda key: self._keep("keys", owner, key),
                scope=owner,
            )
            if salt is None:
                self._keep("salts", owner, cipher.salt.hex())
        return cipher

    def _password_owner(self, chain: str) -> str:
        """Give the scope that the password of a chain was given to."""
        while chain and chain not in self.scope_settings:
            chain = parent(chain)
        return chain or self.unit

    def settings_for(self, chain: str) -> Settings:
        """Give the settings that hold in a chain, as far as this run has opened it: those with its password."""
        return self.scope_settings.get(self._password_owner(chain), self.settings)

    def _kept(self, what: str, owner: str) -> str | None:
        record = self.session.get(self.unit)
        return record.output.get(what, {}).get(owner) if record is not None else None

    def _keep(self, what: str, owner: str, value: str) -> None:
        record = self.session.get(self.unit)
        if record is not None and self.session.lease is not None:
            output = {**record.output, what: {**record.output.get(what, {}), owner: value}}
            self.session.put(msgspec.structs.replace(record, output=output))

    # Providers

    def provider(self, name: str, *, fqn: str) -> Provider[Any]:
        """Give the provider that a record names; one a run."""
        provider = self._providers.get(name)
        if provider is None:
            provider = self._providers[name] = load_provider(name, fqn=fqn)
        return provider

    def slot(self, provider: Provider[Any]) -> AbstractAsyncContextManager[None]:
        """Give the provider's own limit; hold it together with `self.limit` around what it does."""
        if provider.concurrency is None:
            return _UNLIMITED
        return self._limits.setdefault(type(provider), asyncio.Semaphore(provider.concurrency))

    @property
    def limit(self) -> asyncio.Semaphore:
        """Give the run's limit of provider calls."""
        return self._limit

    def context(
        self,
        want: Resource,
        record: Record | state.Generation,
        *,
        fqn: str,
        name: str,
        adopt: bool = False,
        checkpoint: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
    ) -> Context[Any]:
        """Make what a handler is told."""

        async def refuse(_outputs: dict[str, Any]) -> None:
            raise StateError(f"{fqn}: a checkpoint can only be made while creating or updating")

        return Context(
            want=want,
            app=self.app,
            stage=self.settings.stage,
            name=name,
            target=record.target,
            adopt=adopt,
            force=self.settings.force,
            local=self.settings.local,
            data=record.data,
            log=lambda message: self.emit(ResourceLog(fqn=fqn, message=message)),
            checkpoint=checkpoint or refuse,
            shared=self._share,
            declares=self.declared.__contains__,
            kept=lambda: self._data_of(record.kind),
        )

    def _data_of(self, kind: str) -> list[Mapping[str, Any]]:
        """Give what the handlers of a kind kept with its objects."""
        found: list[Mapping[str, Any]] = []
        for record, _ in self.all_records().values():
            found += [old.data for old in record.generations if old.kind == kind]
            found += [record.data] if record.kind == kind else []
        return [data for data in found if data]

    async def _share(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        future = self._shared.get(key)
        if future is None:
            future = self._shared[key] = asyncio.get_running_loop().create_future()
            try:
                future.set_result(await make())
            except BaseException as error:
                del self._shared[key]
                future.set_exception(error)
                future.exception()
                raise
        return future.result() if future.done() else await asyncio.shield(future)

    async def close_shared(self) -> None:
        """Close what providers shared."""
        for future in self._shared.values():
            close = getattr(future.result(), "close", None) if future.done() and not future.cancelled() else None
            if close is not None:
                await close()
        self._shared.clear()

    def name_for(self, naming: Naming | None, *, fqn: str, kind: str, generation: int) -> str:
        """Compute the physical name of a generation."""
        if naming is None:
            return ""
        return physical_name(naming, lineage=self.lineage, fqn=fqn, kind=kind, generation=generation)

    def lose(self, error: LeaseLost) -> None:
        """Somebody else has taken what the run held: nothing more begins, and what was first heard of it is told."""
        self.lost = self.lost or error
        self.stopping = True

    # Scopes' records

    def check_read(self, chain: str) -> None:
        """Raise what is wrong with the state of a scope below a chain that nobody entered: who knows what is in it."""
        for fqn, error in self.unread.items():
            if is_within(fqn, chain):
                raise error

    def session_for(self, chain: str) -> Session:
        """Give the session that holds the records of a chain: its own, or the nearest above it."""
        if len(self.sessions) == 1:
            return self.session
        while chain and chain not in self.sessions:
            chain = parent(chain)
        return self.sessions.get(chain) or self.session

    def recall(self, fqn: str, session: Session) -> Record | None:
        """Give the record of something that a reset has forgotten, by the ledger of its store's unit, or the run's."""
        return session.recall(fqn) or (self.session.recall(fqn) if session is not self.session else None)

    async def close_ledgers(self) -> None:
        """Strike what has a record again out of the ledgers: in one write each, for there may be thousands."""
        there = self.all_records()
        for session in {id(session): session for session in self.sessions.values()}.values():
            own = session.get(session.unit)
            struck = None if own is None else msgspec.structs.replace(own)
            if session.lease is not None and struck is not None and strike(struck, there):
                await session.put(struck)

    def all_records(self) -> Mapping[str, tuple[Record, Session]]:
        """Give every record of the run, with the session that holds it."""
        unit = self.sessions.get(self.unit)  # none before the unit is open
        found: dict[str, tuple[Record, Session]] = {}
        for chain, session in self.sessions.items():
            if session is unit:
                found.update({fqn: (record, session) for fqn, record in session.records.items()})
                continue
            for fqn, record in session.records.items():
                if is_within(fqn, chain):
                    found[fqn] = (record, session)
        return found

    def scope_record(self, scope: Scope) -> Record:
        """Give a scope's record, made when it has none yet (and not written)."""
        chain = scope.chain
        session = self.session_for(parent(chain)) if chain != self.unit else self.session
        record = session.get(chain)
        if record is None:
            kind = state.SCOPE_KIND
            if chain == self.unit:
                kind = state.TEST_KIND if scope.kind == "test" else state.STAGE_KIND
            record = Record(kind=kind, id=leaf(chain), fqn=chain, status=state.Status.CREATED, seq=self.clock.tick())
        return record


def in_words(error: BaseException) -> str:
    """Say a failure in a sentence, with its hint."""
    if isinstance(error, AlchemyError):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(in_words(one) for one in cast("BaseExceptionGroup[BaseException]", error).exceptions)
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
