"""Any store, with records and backups encrypted as a whole on their way in, and opened on their way out."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Awaitable, Iterable, Mapping, Sequence

import msgspec

from alchemy.crypto import Cipher, salt_of
from alchemy.errors import ConfigurationError, SecretError
from alchemy.history import MOMENT, backup_name, is_backup_name, is_sealed_backup, moment_of
from alchemy.names import is_within, unit_of
from alchemy.ports import Lease, LogEnd, Owner, Problem, Snapshot, StateStore
from alchemy.soundness import check_backups
from alchemy.state import SEALED, Application, Json, Record
from alchemy.stores._sealing import open_backup, open_record, seal_backup, seal_record

_NO_PASSWORD = "set ALCHEMY_PASSWORD, or password=, to the one it was encrypted with"


class SealedStore:
    """A store whose units may be encrypted as a whole.

    What is encrypted is opened, by whatever store and whatever the option says, when there is a password. Without one,
    reading gives records as they are stored (`Record.is_sealed`), and `load` refuses.

    Args:
        inner: the store.
        password: what is encrypted with.
        encrypt: whether what is written is to be encrypted.
        follows: a unit that holds records stays as it is, whatever `encrypt` says: for those who do not know what its
            program wants.
    """

    def __init__(
        self, inner: StateStore, password: str | None = None, *, encrypt: bool = False, follows: bool = True
    ) -> None:
        self.inner = inner
        self._password = password
        self.also: str | None = None
        """Another password that may open what the first does not, while one takes the other's place."""
        self._first: dict[str, builtins.set[str]] = {}
        self._encrypt = encrypt
        self._follows = follows
        self._ciphers: dict[bytes, Cipher] = {}
        self._used: dict[str, Cipher] = {}
        self._loaded: dict[str, dict[str, bool]] = {}

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self.inner.url

    async def init(self) -> None:
        """Do as the store does."""
        await self.inner.init()

    async def deinit(self) -> None:
        """Do as the store does."""
        await self.inner.deinit()

    async def application(self, app: str) -> Application | None:
        """Do as the store does: an application's record holds nothing to hide."""
        return await self.inner.application(app)

    async def create_application(self, application: Application) -> Application:
        """Do as the store does."""
        return await self.inner.create_application(application)

    async def acquire(self, chain: str, *, owner: Owner, timeout: float, ttl: float = 60.0) -> Lease:
        """Do as the store does."""
        return await self.inner.acquire(chain, owner=owner, timeout=timeout, ttl=ttl)

    def check(self, lease: Lease) -> bool:
        """Do as the store does."""
        return self.inner.check(lease)

    async def renew(self, lease: Lease) -> Lease:
        """Do as the store does."""
        return await self.inner.renew(lease)

    async def release(self, lease: Lease, *, log: LogEnd | None = None) -> None:
        """Do as the store does."""
        await self.inner.release(lease, log=log)

    async def locks(self) -> Sequence[Lease]:
        """Do as the store does."""
        return await self.inner.locks()

    async def break_(self, chain: str) -> None:
        """Do as the store does."""
        await self.inner.break_(chain)

    async def load(self, unit: str, *, lease: Lease | None = None) -> Snapshot:
        """Read a unit whole, opened.

        Raises:
            SecretError: it is encrypted, and there is no password, or another one.
        """
        snapshot = await self.inner.load(unit, lease=lease)
        records = snapshot.records
        sealed = {fqn: record.is_sealed for fqn, record in records.items()}
        if any(sealed.values()) and self._password is None:
            raise SecretError(
                f"the state of {unit} is encrypted, and there is no password to open it", hint=_NO_PASSWORD
            )
        self._loaded[unit] = sealed
        if self._seals(unit) and lease is not None:
            await self._ready(self._cipher_for(unit, records.values()))
        return msgspec.structs.replace(snapshot, records=await self._opened(records))

    async def learn(self, unit: str) -> None:
        """Find out how a unit is stored, for whoever writes to it without loading it."""
        own = await self.inner.get(unit) if unit not in self._loaded else None
        if own is not None:
            self._loaded[unit] = {unit: own.is_sealed}
            if self._seals(unit):
                await self._ready(self._cipher_for(unit, [own]))

    def around(self, inner: StateStore) -> SealedStore:
        """Give another store, opened with the same password."""
        return SealedStore(inner, self._password, encrypt=self._encrypt, follows=self._follows)

    def stale(self, unit: str) -> builtins.list[str]:
        """Name the records of a loaded unit that are stored in another form than they would be written in now."""
        seals = self._seals(unit)
        return [fqn for fqn, is_sealed in self._loaded.get(unit, {}).items() if is_sealed != seals]

    async def salvage(self, lease: Lease) -> str | None:
        """Do as the store does: damage is found without opening anything."""
        return await self.inner.salvage(lease)

    async def list(self, chain: str) -> Sequence[str]:
        """Do as the store does: names are in clear."""
        return await self.inner.list(chain)

    async def list_scopes(self, chain: str) -> Sequence[str]:
        """Do as the store does."""
        return await self.inner.list_scopes(chain)

    async def count(self, chain: str) -> int:
        """Do as the store does."""
        return await self.inner.count(chain)

    async def get(self, fqn: str) -> Record | None:
        """Read one record, opened when there is a password."""
        return (await self.get_batch([fqn])).get(fqn)

    async def get_batch(self, fqns: Sequence[str]) -> Mapping[str, Record]:
        """Read several records, opened when there is a password."""
        return await self._opened(await self.inner.get_batch(fqns))

    async def all(self, chain: str) -> Mapping[str, Record]:
        """Read every record at a chain and below it, opened when there is a password."""
        return await self._opened(await self.inner.all(chain))

    def set(self, lease: Lease, *records: Record, drop: Sequence[str] = ()) -> Awaitable[None]:
        """Write records, encrypted if they are to be, and drop others, in one commit."""
        return self.inner.set(lease, *self._sealed(records), drop=drop)

    def delete(self, lease: Lease, *fqns: str) -> Awaitable[None]:
        """Do as the store does."""
        return self.inner.delete(lease, *fqns)

    def clear_scope(self, lease: Lease, chain: str, *records: Record) -> Awaitable[None]:
        """Drop a scope's records and all below it, and write others, encrypted if they are to be, in one commit."""
        return self.inner.clear_scope(lease, chain, *self._sealed(records))

    def _sealed(self, records: Sequence[Record]) -> Sequence[Record]:
        """Encrypt records, which lie in one unit, if they are to be."""
        if not records or not self._seals(unit := unit_of(records[0].fqn)):
            return records
        cipher = self._cipher_for(unit, ())
        return [seal_record(record, cipher) for record in records]

    async def fold(self, lease: Lease) -> None:
        """Do as the store does."""
        await self.inner.fold(lease)

    def save_backup(self, lease: Lease, name: str, content: bytes) -> Awaitable[None]:
        """Keep a copy of the unit, encrypted if its records are to be."""
        if self._seals(lease.unit):
            content = seal_backup(content, self._cipher_for(lease.unit, ()), unit=lease.unit)
        return self.inner.save_backup(lease, name, content)

    async def seal_backups(self, lease: Lease) -> int:
        """Encrypt the backups of a unit that are in clear, if its records are to be; give how many those were.

        Each is kept under another name before the old one goes: an interruption loses none. It is that of a moment
        earlier, for the next ones are still to be given.
        """
        unit = lease.unit
        if not self._seals(unit):
            return 0
        names = await self.inner.backups(unit)
        taken = set(names)
        count = 0
        for name in filter(is_backup_name, names):
            content = await self.inner.read_backup(unit, name)
            if is_sealed_backup(content):
                continue
            earlier = backup_name(moment_of(name) - MOMENT, taken, step=-MOMENT)
            taken.add(earlier)
            await self.inner.save_backup(lease, earlier, seal_backup(content, self._cipher_for(unit, ()), unit=unit))
            await self.inner.drop_backups(unit, name)
            taken.discard(name)
            count += 1
        return count

    async def backups(self, unit: str) -> Sequence[str]:
        """Do as the store does."""
        return await self.inner.backups(unit)

    async def read_backup(self, unit: str, name: str) -> bytes:
        """Read a backup whole, opened when there is a password. Raises `SecretError` for another password."""
        content = await self.inner.read_backup(unit, name)
        if self._password is None or not is_sealed_backup(content):
            return content
        cipher = self._cipher(salt_of(msgspec.json.decode(content)[SEALED]))
        await self._ready(cipher)
        return open_backup(content, cipher)

    async def drop_backups(self, unit: str, *names: str) -> None:
        """Do as the store does."""
        await self.inner.drop_backups(unit, *names)

    async def append_log(self, unit: str, name: str, lines: bytes) -> None:
        """Do as the store does."""
        await self.inner.append_log(unit, name, lines)

    async def logs(self, unit: str) -> Sequence[str]:
        """Do as the store does."""
        return await self.inner.logs(unit)

    async def read_log(self, unit: str, name: str) -> bytes:
        """Do as the store does."""
        return await self.inner.read_log(unit, name)

    async def drop_logs(self, unit: str, *names: str) -> None:
        """Do as the store does."""
        await self.inner.drop_logs(unit, *names)

    async def problems(self, chain: str) -> Sequence[Problem]:
        """Do as the store does: what is looked for in records is in clear. With a password, backups are opened."""
        found = [*await self.inner.problems(chain)]
        if self._password is None:
            return found
        known = {problem.where for problem in found}
        for unit in await self._units(chain):
            opened: dict[str, bytes] = {}
            for name in await self.inner.backups(unit):
                where = f"{self.url}, {unit}, backup {name}"
                if not is_sealed_backup(await self.inner.read_backup(unit, name)) or where in known:
                    continue
                try:
                    opened[where] = await self.read_backup(unit, name)
                except SecretError as error:
                    found.append(Problem(where=where, what=error.message, remedy=error.hint or _NO_PASSWORD))
            found += check_backups(opened, unit)
        return found

    async def _units(self, chain: str) -> builtins.list[str]:
        """List the units that a chain is, has, or lies in."""
        unit = unit_of(chain)
        apps = [chain.partition("/")[0]] if chain else await self.inner.list_scopes("")
        units = [known for app in apps for known in await self.inner.list_scopes(app)]
        return [known for known in units if not chain or is_within(known, chain) or known == unit]

    def seals(self, unit: str) -> bool:
        """Say whether what is written of a unit is encrypted; of one that holds records once it was loaded."""
        return self._seals(unit)

    def _seals(self, unit: str) -> bool:
        known = self._loaded.get(unit)
        return any(known.values()) if self._follows and known else self._encrypt

    def _cipher(self, salt: bytes | None) -> Cipher:
        """Give the cipher of a salt, or a new one."""
        if self._password is None:
            raise ConfigurationError("state is to be encrypted, and there is no password", hint=_NO_PASSWORD)
        cipher = self._ciphers.get(salt) if salt is not None else None
        if cipher is None:
            cipher = Cipher(self._password, salt=salt)
            self._ciphers[cipher.salt] = cipher
        return cipher

    def _cipher_for(self, unit: str, records: Iterable[Record]) -> Cipher:
        """Give the cipher that a unit is sealed with: that of its records, so that one key opens all of it."""
        if unit not in self._used:
            salts = (salt_of(record.extra[SEALED]) for record in records if record.is_sealed)
            self._used[unit] = self._cipher(next((salt for salt in salts if salt), None))
        return self._used[unit]

    async def use_password(self, password: str, unit: str) -> None:
        """Encrypt with another password from now on."""
        self._password, self.also = password, None
        self._ciphers.clear()
        self._used.clear()
        if self._seals(unit):
            await self._ready(self._cipher_for(unit, ()))

    def under_first(self, unit: str) -> frozenset[str]:
        """Name the records of a unit that were opened with the first password."""
        return frozenset(self._first.get(unit, ()))

    def _open(self, record: Record, cipher: Cipher) -> Record:
        try:
            opened = open_record(record, cipher)
        except SecretError as error:
            if self.also is None:
                raise
            try:
                return open_record(record, Cipher(self.also, salt=cipher.salt))
            except SecretError:
                raise error from None
        self._first.setdefault(unit_of(record.fqn), set()).add(record.fqn)
        return opened

    async def _opened(self, records: Mapping[str, Record]) -> dict[str, Record]:
        """Open what is sealed, if there is a password."""
        found = dict(records)
        sealed = [record for record in records.values() if record.is_sealed]
        if self._password is None or not sealed:
            return found
        envelopes: builtins.list[Json] = [record.extra[SEALED] for record in sealed]
        ciphers = [self._cipher(salt_of(envelope)) for envelope in envelopes]
        for cipher in {id(cipher): cipher for cipher in ciphers}.values():
            await self._ready(cipher)
        for record, cipher in zip(sealed, ciphers, strict=True):
            found[record.fqn] = self._open(record, cipher)
        return found

    @staticmethod
    async def _ready(cipher: Cipher) -> None:
        """Derive the key without holding the event loop up."""
        await asyncio.wrap_future(cipher.start_deriving())


def plain(store: StateStore) -> StateStore:
    """Give the store itself, without encryption around it."""
    return store.inner if isinstance(store, SealedStore) else store
