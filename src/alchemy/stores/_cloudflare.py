"""State in SQLite Durable Objects, one an application, behind the state service."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from alchemy.errors import ConfigurationError, ProviderError, StateError
from alchemy.names import unit_of
from alchemy.ports import Lease, Owner
from alchemy.secret import Secret
from alchemy.stores import service
from alchemy.stores._patience import PATIENCE
from alchemy.stores._service_client import TOKEN, ServiceClient, check_version, join_rows
from alchemy.stores._service_pieces import content_of, pieces_of, shares_of
from alchemy.stores._urls import Place, check_url, is_address, parse, with_options, without_credentials
from alchemy.stores.backed import BackedStore
from alchemy.stores.backend import BlobKind, Blocked, Commit, Ending, Taken, Unreachable

if TYPE_CHECKING:
    from alchemy.stores._service_deploying import Deployed

_PREFIX = "cloudflare+"
_PIECES = 8
_TRIES = 10
_SCRIPT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""It becomes part of a host name."""
_PAUSES = (0.0, 0.2, 0.5, 1.0)
"""Seconds before each question whether the service can clear."""


class CloudflareStateStore(BackedStore):
    """State in a state service: each application in a Durable Object of its own.

    Args:
        address: of a service that runs: `http://127.0.0.1:8787`, as `alchemy state-service serve` prints it. Without it
            the service is put on the Cloudflare account that the environment names, unless it is there.
        script_name: what the Worker is called on that account.
        state_token: opens the service; `ALCHEMY_STATE_TOKEN` by default.
        patience: seconds for which a service that does not answer is asked again.
        force_update: a deploy uploads the service again, also when it is current (a newer one stays), and forgets the
            state of the scope that it gives the store to, before it uses that; see `alchemy.ports.Forceful`.

    Raises:
        ConfigurationError: there is no token, the address or the name cannot be one, or httpx is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        script_name: str = service.SCRIPT,
        state_token: Secret[str] | str | None = None,
        patience: float = PATIENCE,
        force_update: bool = False,
    ) -> None:
        checked = None if address is None else _checked(address)
        script = checked_script(script_name)
        self._service = ServiceBackend(checked, checked_token(state_token), script)
        super().__init__(self._service, patience=patience)
        self.force_update = force_update

    @classmethod
    def from_url(cls, url: str) -> CloudflareStateStore:
        """Give the store for a URL.

        They are `cloudflare:`, with the option `script_name=NAME`, `cloudflare+http://HOST[:PORT]` and
        `cloudflare+https://…`; each may have `force_update=true`.
        """
        if url.startswith(_PREFIX):
            force = _flag(parse(url, options=("force_update",)), "force_update", url)
            return cls(url.removeprefix(_PREFIX).partition("?")[0], force_update=force)
        place = parse(url, options=("script_name", "force_update"))
        if place.host or place.path:
            raise ConfigurationError(
                f"{without_credentials(url)!r} names more than a state store at Cloudflare has",
                hint="cloudflare: or cloudflare:?script_name=NAME; the account comes from CLOUDFLARE_ACCOUNT_ID",
            )
        force = _flag(place, "force_update", url)
        return cls(script_name=place.options.get("script_name", service.SCRIPT), force_update=force)

    async def redeploy(self) -> Sequence[str]:
        """Upload the service again, unless it is newer; one at an address is whoever's runs it."""
        return await self._ask(self._service.redeploy)

    async def refuses_to_clear(self, lease: Lease, chain: str) -> int | None:
        """Ask whether the service can clear a chain; give its status when it cannot."""
        return await self._ask(self._service.refuses_to_clear, lease, chain)


class _Numbered(NamedTuple):
    """The last commit that was asked for under a lease, and which one of that lease it is."""

    nonce: str
    number: int


class ServiceBackend:
    """One state service."""

    max_changes = 1000
    max_bytes = 4 << 20
    pause = 0.5

    def __init__(self, address: str | None, token: Secret[str], script: str = service.SCRIPT) -> None:
        self._address = address
        self._script = script
        self._token = token
        self._client: ServiceClient | None = None
        self._commits: dict[tuple[str, int], _Numbered] = {}
        self._begun: dict[str, dict[str, Any]] = {}
        """The first of several pages of the unit that was taken last."""

    @property
    def url(self) -> str:
        if self._address is not None:
            return _PREFIX + self._address
        return with_options("cloudflare:", script_name=self._script if self._script != service.SCRIPT else None)

    async def open(self) -> Sequence[str]:
        await self.close()
        address, version, notices = self._address, None, list[str]()
        if address is None:
            address, version, notices = await self._deploy(force=False)
        self._client = ServiceClient(address, self._token, name=address)
        if version is None:
            found: dict[str, int] = await self._ask("version", chain="")
            version = found["version"]
        check_version(version, needed=service.OLDEST, name=address)
        return notices

    async def redeploy(self) -> Sequence[str]:
        """Upload the service also when it is current. Gives what there is to say."""
        return (await self._deploy(force=True)).notices if self._address is None else []

    async def _deploy(self, *, force: bool) -> Deployed:
        """Put the service on the account. Raises `Unreachable` when Cloudflare's API may do it a moment later."""
        from alchemy.stores._service_deploying import deploy

        try:
            return await deploy(self._script, self._token, force=force)
        except ProviderError as error:
            if error.retryable:
                raise Unreachable(error.message, hint=error.hint) from error
            raise

    async def refuses_to_clear(self, lease: Lease, chain: str) -> int | None:
        """Ask for a clearing that counts as made already; give the status of a service that does not know what it is.

        A failure of the service itself is believed when it is there a moment later too.
        """
        client = await self._opened()
        past: dict[str, Any] = {"number": 0, "clear": chain, "drops": [], "puts": {}}
        status: int | None = None
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            status = await client.knows("clearScope", _named(lease), past, chain=unit_of(chain), lease=lease)
            if status is None or status < 500:
                break
        return status

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def applications(self) -> Sequence[str]:
        apps: list[str] = await self._ask("applications", chain="")
        return apps

    async def application(self, app: str) -> bytes | None:
        text: str | None = await self._ask("application", chain=app)
        return None if text is None else text.encode()

    async def create_application(self, app: str, row: bytes) -> bytes:
        text: str = await self._ask("createApplication", row.decode(), chain=app)
        return text.encode()

    async def take(self, chain: str, *, owner: Owner, ttl: float, nonce: str) -> Taken | Blocked:
        asked = {"owner": msgspec.to_builtins(owner), "ttl": ttl, "nonce": nonce}
        given: dict[str, Any] = await self._ask("take", asked, chain=chain)
        if "holder" in given:
            return Blocked(_lease(given["holder"]))
        page: dict[str, Any] | None = given["page"]
        application: str | None = given["application"]
        taken = Taken(_lease(given["lease"]), None, given["logs"], application.encode() if application else None)
        is_whole = page is not None and page["next"] is None
        self._begun = {} if page is None or is_whole else {chain: page}
        if page is None or not is_whole:
            return taken
        rows, foreign = join_rows(page["rows"])
        return taken._replace(rows=None if foreign else rows)  # loading says what is wrong with it

    async def renew(self, lease: Lease, *, ttl: float) -> Lease:
        return _lease(await self._ask("renew", _named(lease), ttl, chain=lease.unit, lease=lease))

    async def release(self, lease: Lease, log: Ending | None = None) -> None:
        pieces = list(pieces_of(f"{log.part}-", log.lines)) if log is not None and log.lines else []
        last: dict[str, Any] | None = None
        if log is not None and pieces:
            first = pieces[:-_PIECES]
            await self._append(lease.unit, log.name, first)
            last = {"name": log.name, "pieces": dict(pieces[len(first) :])}
        await self._ask("release", _named(lease), last, log.drop if log is not None else [], chain=lease.unit)
        self._commits.pop((lease.unit, lease.token), None)

    async def break_(self, chain: str, *, why: str) -> None:
        await self._ask("break", why, chain=chain)

    async def locks(self) -> Sequence[Lease]:
        found = [await self._ask("locks", chain=app) for app in await self.applications()]
        return [_lease(lease) for leases in found for lease in leases]

    async def units(self, app: str) -> Sequence[str]:
        units: list[str] = await self._ask("units", chain=app)
        return units

    async def load(self, unit: str, *, lease: Lease | None = None) -> Mapping[str, bytes]:
        return await self._whole("load", None if lease is None else _named(lease), unit=unit, lease=lease)

    async def read(self, unit: str, fqns: Sequence[str]) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(fqns), self.max_changes):
            found |= await self._whole("read", fqns[start : start + self.max_changes], unit=unit)
        return found

    async def _whole(self, method: str, asked: Any, *, unit: str, lease: Lease | None = None) -> Mapping[str, bytes]:
        for _ in range(_TRIES):
            rows = await self._pages(method, asked, unit=unit, lease=lease)
            if rows is not None:
                return self._ours(*join_rows(rows))
        raise Unreachable(f"{unit} was written to {_TRIES} times while it was read", hint="wait for that run to end")

    async def _pages(self, method: str, asked: Any, *, unit: str, lease: Lease | None) -> list[Any] | None:
        """Give all rows; `None` when somebody wrote between two pages."""
        begun = self._begun.pop(unit, None) if lease is not None else None
        page: dict[str, Any] = begun or await self._ask(method, 0, asked, chain=unit, lease=lease)
        rows: list[Any] = page["rows"]
        while page["next"] is not None:
            writes = page["writes"]
            page = await self._ask(method, page["next"], asked, chain=unit, lease=lease)
            if writes != page["writes"]:
                return None
            rows += page["rows"]
        return rows

    async def commit(self, lease: Lease, unit: str, commit: Commit) -> None:
        key = (lease.unit, lease.token)
        last = self._commits.get(key)
        if last is None or last.nonce != commit.nonce:
            last = self._commits[key] = _Numbered(commit.nonce, last.number + 1 if last else 1)
        *ahead, puts = shares_of(commit.puts, self.max_bytes)
        for some in ahead:
            part: dict[str, Any] = {"number": last.number, "clear": None, "drops": [], "puts": some}
            await self._ask("stage", _named(lease), part, chain=unit, lease=lease)
        asked = {"number": last.number, "clear": commit.clear, "drops": commit.drops, "puts": puts}
        if ahead:  # a service that knows no such thing has refused the first of them
            asked["staged"] = sum(map(len, ahead))
        method = "commit" if commit.clear is None else "clearScope"
        await self._ask(method, _named(lease), asked, chain=unit, lease=lease)

    async def fold(self, lease: Lease, unit: str) -> None:
        """There is no log to fold: rows are what is stored. Only the lease is looked at."""
        await self._ask("check", _named(lease), chain=lease.unit, lease=lease)

    async def save(self, lease: Lease, unit: str, kind: BlobKind, name: str, content: bytes) -> bool:
        pieces = list(pieces_of("", content))
        blob = {"kind": kind, "name": name, "digest": hashlib.sha256(content).hexdigest()}
        kept = True
        for start in range(0, len(pieces), _PIECES):
            some = dict(pieces[start : start + _PIECES])
            asked = {**blob, "pieces": some, "last": start + _PIECES >= len(pieces)}
            kept = await self._ask("save", _named(lease), asked, chain=unit, lease=lease)
            if not kept:
                break
        return kept

    async def append(self, unit: str, name: str, part: str, lines: bytes) -> None:
        await self._append(unit, name, list(pieces_of(f"{part}-", lines)))

    async def _append(self, unit: str, name: str, pieces: Sequence[tuple[str, str]]) -> None:
        for start in range(0, len(pieces), _PIECES):
            await self._ask("append", name, dict(pieces[start : start + _PIECES]), chain=unit)

    async def names(self, unit: str, kind: BlobKind) -> Sequence[str]:
        names: list[str] = await self._ask("names", kind, chain=unit)
        return names

    async def fetch(self, unit: str, kind: BlobKind, name: str) -> bytes | None:
        content = bytearray()
        after: str | None = ""
        while after is not None:
            page: dict[str, Any] | None = await self._ask("fetch", kind, name, after, chain=unit)
            if page is None:
                return None
            content += content_of(page["rows"])
            after = page["next"]
        return bytes(content)

    async def discard(self, unit: str, kind: BlobKind, names: Sequence[str]) -> None:
        await self._ask("discard", kind, names, chain=unit)

    async def _ask(self, method: str, *params: Any, chain: str, lease: Lease | None = None) -> Any:
        client = await self._opened()
        return await client.ask(method, *params, chain=chain, lease=lease)

    async def _opened(self) -> ServiceClient:
        if self._client is None:
            await self.open()
        assert self._client is not None, "opening makes the client"
        return self._client

    def _ours(self, rows: dict[str, bytes], foreign: str | None) -> dict[str, bytes]:
        if foreign is None:
            return rows
        raise StateError(
            f"{foreign} in {self.url} was written by Alchemy for TypeScript",
            hint="use another application or stage, and take its state over with: alchemy state import",
        )


def _named(lease: Lease) -> dict[str, Any]:
    return {"chain": lease.unit, "token": lease.token}


def _lease(given: dict[str, Any]) -> Lease:
    return msgspec.convert(given, Lease)


def checked_token(given: Secret[str] | str | None = None) -> Secret[str]:
    """Give the token of the environment, or another one. Raises `ConfigurationError` when it cannot be one."""
    token = given if given is not None else os.environ.get(TOKEN, "")
    token = token if isinstance(token, Secret) else Secret(token, name=TOKEN)
    text = token.reveal()
    if not text or any(not 0x21 <= ord(char) <= 0x7E for char in text):
        what = "is not set" if not text else "has blanks or characters beyond ASCII in it"
        raise ConfigurationError(
            f"the state service's token ({TOKEN}, or state_token) {what}",
            hint="set it to the service's, which is the same for everybody; for a new service make one: "
            f'export {TOKEN}="$(openssl rand -hex 32)", and keep it',
        )
    return token


def checked_script(name: str) -> str:
    """Give what the service's Worker is called. Raises `ConfigurationError` when a Worker with an address cannot be."""
    if not _SCRIPT.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a Worker with an address",
            hint="it has 1 to 63 of a-z, 0-9 and '-', and begins and ends with a letter or digit",
        )
    return name


def _flag(place: Place, name: str, url: str) -> bool:
    said = place.options.get(name, "false")
    if said not in ("true", "false"):
        raise ConfigurationError(
            f"{without_credentials(url)} has {name}={said!r}", hint=f"{name}=true, or leave it out"
        )
    return said == "true"


def _checked(address: str) -> str:
    check_url(address)
    parts = urlsplit(address)
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if more or not is_address(address):
        raise ConfigurationError(
            f"{without_credentials(address)!r} is no address of a state service",
            hint=f"such as {_PREFIX}http://127.0.0.1:8787; the token goes into {TOKEN}",
        )
    return f"{parts.scheme}://{parts.netloc}"
