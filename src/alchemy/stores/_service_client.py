"""Asking a state service over HTTP, and what its answers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from alchemy.clients.cloudflare import LOOPBACK
from alchemy.errors import AlchemyError, ConfigurationError, LeaseLost, StateError, StateTooNew
from alchemy.ports import Lease
from alchemy.secret import Secret
from alchemy.stores._refusals import taken_away
from alchemy.stores._urls import load_extra
from alchemy.stores.backend import Unreachable

if TYPE_CHECKING:
    import httpx

TOKEN = "ALCHEMY_STATE_TOKEN"
_CONNECT_SECONDS, _ANSWER_SECONDS = 5.0, 30.0
_PASSING = frozenset({408, 425, 429})
_UNKNOWN_YET = b"error code: 1042"
"""What Cloudflare itself answers where no Worker is; for a while also in some of the places where a new one will be."""
_UPGRADE = (
    "start it again with this version of alchemy (alchemy state-service serve); on a Cloudflare account, deploy once "
    "with the store cloudflare:"
)


class TokenRefused(ConfigurationError):
    """The service has another token than the one it was shown."""


class _Answer(msgspec.Struct):
    """What the service answers; `whom` comes with `lease_lost`."""

    success: bool
    result: Any = None
    error: str = ""
    code: str = ""
    whom: str = ""


_read = msgspec.json.Decoder(_Answer).decode


class ServiceClient:
    """Asks one service, over connections that are kept.

    Args:
        address: such as `http://127.0.0.1:8787`.
        token: that every request shows.
        name: what to call the place in messages.
    """

    def __init__(self, address: str, token: Secret[str], *, name: str) -> None:
        load_extra("httpx", extra="cloudflare", store="a state store in Durable Objects")
        self.address = address
        self._token = token
        self._name = name
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Let go of connections; asking opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def ask(self, method: str, *params: Any, chain: str, lease: Lease | None = None) -> Any:
        """Ask once.

        Args:
            lease: that is told to be lost when it is.

        Raises:
            Unreachable: no answer came, or one that another moment may change.
            LeaseLost: the service says so.
            StateError, StateTooNew, ConfigurationError: it refuses, or is no state service.
        """
        response = await self._post(method, params, chain)
        answer = self._answer(response, method)
        if answer.success:
            return answer.result
        raise self._refusal(response.status_code, answer, lease)

    async def knows(self, method: str, *params: Any, chain: str, lease: Lease) -> int | None:
        """Ask once for what changes nothing; give the status of a service that does not do such things, else `None`.

        Raises:
            Unreachable: no answer came.
            LeaseLost, StateError, ConfigurationError: it refuses for another reason, or is no state service.
        """
        response = await self._post(method, params, chain)
        status = response.status_code
        if status >= 500:
            return status
        answer = self._answer(response, method)
        if answer.success:
            return None
        error = self._refusal(status, answer, lease)
        if status == 401 or isinstance(error, LeaseLost | StateTooNew | Unreachable):
            raise error
        return status

    async def _post(self, method: str, params: Sequence[Any], chain: str) -> httpx.Response:
        import httpx

        body = {"method": method, "params": params, "context": {"chain": chain.split("/") if chain else []}}
        try:
            return await self._opened().post("/", content=msgspec.json.encode(body))
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ConfigurationError(f"{self._name} is no address of a service: {error}") from error
        except httpx.HTTPError as error:
            what = f": {error}" if str(error) else ""
            raise Unreachable(
                f"{self._name} does not answer ({type(error).__name__}{what})",
                hint="check that it runs, and the network",
            ) from error

    def _opened(self) -> httpx.AsyncClient:
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(
                base_url=self.address,
                verify=self.address.startswith("https:"),  # reading the system's certificates takes 0.1 s
                # A proxy of the environment must not see what is meant for this machine, nor could it reach it.
                trust_env=urlsplit(self.address).hostname not in LOOPBACK,
                headers={"Authorization": f"Bearer {self._token.reveal()}", "Content-Type": "application/json"},
                timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=20),
            )
        return self._http

    def _answer(self, response: httpx.Response, method: str) -> _Answer:
        status = response.status_code
        is_json = "application/json" in response.headers.get("content-type", "")
        if is_json:
            try:
                return _read(response.content)
            except (msgspec.DecodeError, msgspec.ValidationError):
                pass
        if status >= 500 or status in _PASSING:
            raise Unreachable(f"{self._name} answers {method} with {status}", hint="look at its log")
        if response.content.startswith(_UNKNOWN_YET):
            raise Unreachable(f"Cloudflare does not know {self._name}", hint="check the address, or wait a minute")
        kind = response.headers.get("content-type", "nothing").partition(";")[0]
        if status == 413:
            raise ConfigurationError(
                f"what stands before {self._name} does not let {len(response.request.content):,} bytes through",
                hint="let it pass on requests of up to 32 MB (client_max_body_size of nginx)",
            )
        if response.is_redirect or "html" in kind:
            raise ConfigurationError(
                f"{self._name} answers with {status} and {kind}, as a login page does, and not as a service",
                hint="let the token alone suffice at that address: take it out of what asks people to log in",
            )
        raise ConfigurationError(
            f"{self._name} answers with {status} and {kind}: there is no state service", hint="check the address"
        )

    def _refusal(self, status: int, answer: _Answer, lease: Lease | None) -> AlchemyError:
        if answer.code == "lease_lost" and lease is not None:
            return taken_away(lease, answer.whom)
        if status == 401:
            return TokenRefused(
                f"{self._name} does not accept the token",
                hint=f"set {TOKEN} to the service's; if that is lost: alchemy state-service set-token, or start the "
                "service again with another one",
            )
        said = f"{self._name}: {answer.error}"
        if answer.code == "newer_data":
            return StateTooNew(said, hint="use a newer version of alchemy")
        if answer.code == "unknown_method":
            return StateError(f"{said}, because it is older than this library", hint=_UPGRADE)
        if answer.code == "too_large":
            return StateError(said, hint="write smaller records, or fewer at once")
        if status >= 500 or status in _PASSING:
            return Unreachable(said, hint="look at its log")
        return StateError(said)


def check_version(found: int, *, needed: int, name: str) -> None:
    """Raise `StateError` when a service is older than this library needs; newer ones go on answering older clients."""
    if found < needed:
        raise StateError(
            f"the state service at {name} has version {found}, and this library needs {needed}", hint=_UPGRADE
        )


def join_rows(rows: Sequence[Sequence[Any]]) -> tuple[dict[str, bytes], str | None]:
    """Put rows together from their parts.

    Returns:
        The rows by FQN, and the FQN of one that Alchemy for TypeScript wrote, if there is any.
    """
    parts: dict[str, list[str]] = {}
    foreign: str | None = None
    for fqn, text, origin in rows:
        parts.setdefault(fqn, []).append(text)
        foreign = fqn if origin else foreign
    return {fqn: "".join(texts).encode() for fqn, texts in parts.items()}, foreign


__all__ = ["TOKEN", "ServiceClient", "TokenRefused", "check_version", "join_rows"]
