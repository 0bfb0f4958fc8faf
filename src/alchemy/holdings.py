"""What a run holds: stores, the units in them, and their leases. Opened at its beginning, given back at its end."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from alchemy import config, state
from alchemy.config import Launch, Settings
from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.errors import AlchemyError, ConfigurationError, StateDamaged, StateError
from alchemy.events import Notice
from alchemy.forced import forceful, redeploy, start_over
from alchemy.history import surplus
from alchemy.names import RESERVED_STAGE, unit_of
from alchemy.ports import Lease, LogEnd, Owner, Snapshot, StateStore
from alchemy.remedies import with_remedy
from alchemy.scope import Scope
from alchemy.state import Application, JsonObject
from alchemy.waiting import place_options, take

if TYPE_CHECKING:
    from alchemy.stores._sealed import SealedStore

LOGS_KEPT = 100
"""Logs of a unit that are kept; older ones go after a successful run."""


class Holdings:
    """The stores and sessions of one run.

    Args:
        owner: who holds what it takes.
        backs_up: whether there is to be a backup before the first write.

    Attributes:
        salvages: says of a scope with a store of its own, or the unit, whether its state is put in order when it is
            damaged, as far as it can be read; else it is refused.
        put_aside: whether anything was.
        reopens: says of a scope with a store of its own whether that is opened before the program asks for it.
        surplus: names of the logs that are too many, once there was a look.
    """

    def __init__(self, run: Run, launch: Launch, owner: Owner, *, backs_up: bool) -> None:
        self._run = run
        self._launch = launch
        self._owner = owner
        self._operation = launch.operation if backs_up else None
        self._stores: list[SealedStore] = []
        self._left: list[Session] = []
        self._opening: dict[str, asyncio.Lock] = {}
        self._redeployed: set[str] = set()
        self._forced = False
        """Whether the run's unit is to begin without state."""
        self.surplus: Sequence[str] = ()
        self._logs: Sequence[str] | None = None
        """Of the run's unit, where they came with its records."""
        run.locate = lambda settings: self._store(settings).url
        run.address = self._address
        self.salvages: Callable[[str], bool] = lambda _chain: launch.rebuild
        self.put_aside = False
        self.also: str | None = None
        """A password that may open what the settings' does not; see `SealedStore.also`."""
        self.reopens: Callable[[str], bool] = lambda _chain: True

    # Taking

    async def open_unit(self) -> None:
        """Open the store that the settings ask for, and take the run's unit in it.

        Raises:
            ConfigurationError: nobody asked for one, and that of this machine would not last.
        """
        run = self._run
        if run.settings.stage != RESERVED_STAGE:
            config.check_lasting(run.settings)
        if run.settings.encrypt_state and run.settings.password is None:
            raise ConfigurationError(
                f"the state of {run.unit} is to be encrypted, and there is no password",
                hint="set ALCHEMY_PASSWORD, or alchemy(..., password=...)",
            )
        store = self._store(run.settings)
        self._forced = self._is_forced(run.settings)
        if self._forced:
            await self._redeploy(store)
        await store.init()
        run.sessions[run.unit] = await self._session(store, run.unit, salvages=self._forced)

    async def start_over(self, scope: Scope) -> None:
        """Forget the state of the run's unit, when the store that it was given is told to (`force_update`)."""
        if self._forced:
            await self._start_over(scope, self._run.session)

    async def _start_over(self, scope: Scope, session: Session) -> None:
        store = forceful(session.store)
        if store is not None:
            await start_over(self._run, scope, session, store)

    def _is_forced(self, settings: Settings) -> bool:
        """Say whether a scope with these settings is to begin without state; only a deploy does that."""
        from alchemy.stores import store_of

        if self._run.phase != "up" or self._run.rebuilds:
            return False
        # By what these settings say: the store that is open may have been opened for others, who do not say so.
        store = forceful(store_of(settings, self._launch.root))
        return store is not None and store.force_update

    async def _redeploy(self, store: StateStore) -> None:
        inner = forceful(store)
        if inner is not None and store.url not in self._redeployed:
            self._redeployed.add(store.url)
            await redeploy(self._run, inner)

    async def _application(self, store: StateStore) -> Application:
        found = await store.application(self._run.app)
        if found is not None:
            if found.min_reader > state.VERSION:
                raise StateError(
                    f"the state of {self._run.app} needs form {found.min_reader}; this version reads {state.VERSION}",
                    hint="upgrade alchemy-iac",
                )
            return found
        made = Application(app=self._run.app, lineage=secrets.token_hex(16), created_at=state.now())
        if self._run.phase != "up":
            return made
        if await store.list_scopes(self._run.app):
            self._run.warn(
                f"the record of the application {self._run.app} was missing though it has stages, and is made anew; "
                "what has a record is found as before, and what has none, such as what a reset forgot, is not. "
                "If you still have that record, stop and put it back"
            )
        return await store.create_application(made)

    def _store(self, settings: Settings) -> SealedStore:
        """Give the store that settings ask for; one per URL."""
        from alchemy.stores import store_of

        # A program says what it wants; what puts state in order from outside leaves it as it is.
        store = store_of(settings, self._launch.root, follows=self._run.phase != "up")
        for known in self._stores:
            if known.url == store.url:
                return known
        store.also = self.also
        self._stores.append(store)
        return store

    def _address(self, settings: Settings, outer: StateStore) -> JsonObject:
        """Say in a record that lies in `outer` where a store is: without credentials."""
        from alchemy.stores import is_relative
        from alchemy.stores._addresses import address

        said = settings.state_store
        place = said if isinstance(said, str) and is_relative(said) else self._store(settings).url
        return address(place, root=self._launch.root, outer=outer.url)

    async def _session(self, store: SealedStore, chain: str, *, salvages: bool = False) -> Session:
        run, unit = self._run, unit_of(chain)
        lease: Lease | None = None
        if run.phase != "read":
            lease = await take(
                store, unit, owner=self._owner, settings=run.settings, launch=self._launch, emit=run.emit
            )
        try:
            if chain == run.unit:  # with the lease, along with which some stores give it
                run.lineage = (await self._application(store)).lineage
            snapshot = await self._load(store, chain, lease, salvages=salvages or self.salvages(chain))
        except BaseException:
            if lease is not None:
                await store.release(lease)
            raise
        for notice in snapshot.notices:
            self._run.warn(notice)
        if chain == run.unit:
            self._logs = snapshot.logs
        session = Session(store, unit, lease, snapshot.records, operation=self._operation)
        if lease is not None and run.phase == "up":
            try:
                await self._bring_into_form(store, session, lease)
            except BaseException:
                await store.release(lease)
                raise
        return session

    async def _bring_into_form(self, store: SealedStore, session: Session, lease: Lease) -> None:
        """Encrypt at once what is to be encrypted from now on, or write it in clear again."""
        stale = store.stale(session.unit)
        if not stale:
            return
        backups = await store.seal_backups(lease)
        await session.rewrite([session.records[fqn] for fqn in stale])
        what = "encrypted whole" if store.seals(session.unit) else "written in clear again"
        also = f", and of its backups {backups}" if backups else ""
        self._run.emit(Notice(level="info", message=f"{session.unit}: of its records {len(stale)} were {what}{also}"))

    @property
    def seals(self) -> bool:
        """Whether the run's unit is encrypted as a whole."""
        store = self._run.session.store
        return any(known is store and known.seals(self._run.unit) for known in self._stores)

    async def _load(self, store: StateStore, chain: str, lease: Lease | None, *, salvages: bool) -> Snapshot:
        unit = unit_of(chain)
        try:
            return await store.load(unit, lease=lease)
        except StateDamaged as damage:
            aside = await store.salvage(lease) if lease is not None and salvages else None
            if aside is None:
                place = place_options(store, self._run.settings, self._launch)
                raise await with_remedy(damage, store, unit, place) from damage
            self.put_aside = True
            self._run.warn(
                f"the state of {chain} was damaged: {damage.message}; what could be read of it is kept, "
                f"and all that was there is in {aside}"
            )
        return await store.load(unit, lease=lease)

    async def reopen(self) -> None:
        """Open the stores of nested scopes that state knows of, so that what is in them can be destroyed.

        One that is damaged is refused when its scope is entered, unless that is to begin without state.
        """
        from alchemy.stores._addresses import place_of

        run = self._run
        if run.phase == "read":
            return
        queue = [run.session]
        while queue:  # what is in them may have stores of its own
            session = queue.pop()
            for record in list(session.records.values()):
                url = place_of(record, outer=session.store.url, root=self._launch.root)
                if url and record.fqn not in run.sessions and self.reopens(record.fqn):
                    store = self._store(replace(run.settings, state_store=url))
                    self._check_there(store, record.fqn)
                    try:
                        run.sessions[record.fqn] = await self._session_once(store, record.fqn)
                    except StateDamaged as damage:
                        if forceful(store) is None or run.phase != "up" or run.rebuilds:
                            raise
                        run.unread[record.fqn] = damage
                        continue
                    queue.append(run.sessions[record.fqn])

    def _check_there(self, store: StateStore, chain: str) -> None:
        """Refuse to destroy a scope whose store is gone: opened, it would be empty, and what was in it forgotten."""
        from alchemy.stores import is_there

        if self._run.phase == "destroy" and not is_there(store.url):
            raise StateError(
                f"{chain} keeps its state in {store.url}, and that is not there",
                hint="bring it back; if nothing that it told of exists any more, make the folder, empty, and try again",
            )

    async def _session_once(self, store: SealedStore, chain: str, *, salvages: bool = False) -> Session:
        """Give a session of the unit in another store; scopes that share a store share its session."""
        for session in self._run.sessions.values():
            if session.store is store:
                return session  # and not made ready again: what others ask of it just now would be cut short
        await store.init()
        return await self._session(store, chain, salvages=salvages)

    async def open_nested(self, scope: Scope) -> Session:
        """Give the session of a nested scope that has a store of its own."""
        assert scope.parent is not None
        store = self._store(scope.settings)
        is_given = scope.settings.state_store is not scope.parent.settings.state_store
        async with self._opening.setdefault(store.url, asyncio.Lock()):
            known = self._run.sessions.get(scope.chain)
            forced = is_given and self._is_forced(scope.settings)
            if forced:
                await self._redeploy(store)
            if known is not None and known.store.url != store.url:
                self._left.append(known)  # nothing of the scope is in it, or entering the scope would have been refused
                del self._run.sessions[scope.chain]
                known = None
            session = known or await self._session_once(store, scope.chain, salvages=forced)
            self._run.unread.pop(scope.chain, None)
            if forced:
                await self._start_over(scope, session)
            return session

    # Giving back

    @property
    def _sessions(self) -> Sequence[Session]:
        every = [*self._run.sessions.values(), *self._left]
        return list({id(session): session for session in every}.values())

    async def fold(self) -> None:
        """Fold what was written; nothing more is written, unless it is known that somebody else has the unit now."""
        if self._run.lost is not None:
            return
        with contextlib.suppress(StateError):  # it is told by the fold
            await self._run.close_ledgers()
        await all_of([session.fold for session in self._sessions])

    async def prune(self, log: str) -> None:
        """Drop the oldest backups where there is a new one, and note which logs are too many with this run's own.

        Old ones that stay do no harm: no error.
        """
        with contextlib.suppress(AlchemyError, OSError):
            known = self._logs if self._logs is not None else await self._run.session.store.logs(self._run.unit)
            names = sorted({*known, log})
            self.surplus = names[: max(0, len(names) - LOGS_KEPT)]
        with contextlib.suppress(AlchemyError, OSError):
            for session in self._sessions:
                if session.backup:
                    old = surplus(await session.store.backups(session.unit), self._run.settings.backups)
                    await session.store.drop_backups(session.unit, *old)

    async def release(self, log: LogEnd | None = None) -> None:
        """Give the leases back, and the log of the run its end along with the unit."""
        run = self._run
        own = run.sessions.get(run.unit)
        await all_of([partial(session.release, log if session is own else None) for session in self._sessions])

    async def let_go(self) -> None:
        """Close stores and what providers shared."""
        await all_of([self._run.close_shared, *(store.deinit for store in self._stores)])


async def all_of(closers: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Call them all; raise the first failure when all were tried."""
    failures: list[BaseException] = []
    for close in closers:
        try:
            await close()
        except BaseException as error:
            failures.append(error)
    if failures:
        raise failures[0]
