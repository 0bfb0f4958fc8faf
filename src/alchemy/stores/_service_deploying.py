"""Putting the state service on a Cloudflare account, through its API.

The deployed script has a tag, `alchemy-state-service:VERSION:DIGEST`. It is uploaded when it is missing, or older than
what this library ships; never when it is newer, so that two versions of the library do not take turns.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from alchemy.clients.cloudflare import Cloudflare, connect
from alchemy.clients.cloudflare_errors import calling
from alchemy.errors import AlchemyError, ConfigurationError, Gone, ProviderError, StateError
from alchemy.secret import Secret
from alchemy.stores import service
from alchemy.stores._service_client import ServiceClient, TokenRefused, check_version

_MARK = "alchemy-state-service:"
_SECRET = "STATE_TOKEN"
_TYPESCRIPT = "cloudflare-state-store:"
"""How the tag begins that Alchemy for TypeScript gives its own state service."""
_NEW_SECONDS, _KNOWN_SECONDS = 120.0, 5.0
"""For which the service may not answer as one: a new workers.dev address takes a minute to be known everywhere."""
_LOOKS = (0.0, 0.5, 1.5)
"""Seconds before each look for what somebody else uploads."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0


class Deployed(NamedTuple):
    """A service that answers.

    Attributes:
        address: such as `https://alchemy-state-service.team.workers.dev`.
        version: that it says it has.
        notices: sentences for people.
    """

    address: str
    version: int
    notices: list[str]


async def deploy(script: str, token: Secret[str], *, force: bool = False) -> Deployed:
    """Make sure that the account that the environment names has the service, and that it answers.

    Safe to repeat, and for several at once. An upgrade keeps data and token.

    Args:
        script: the Worker's name.
        token: set when the script is uploaded for the first time.
        force: upload it also when it is current; not when it is newer.

    Raises:
        ConfigurationError: the token is another one, a Worker of that name is something else, the account has no
            workers.dev subdomain, or the environment has no credentials for it.
    """
    api = await connect()
    try:
        if api.own:
            await api.workers_subdomain()  # an account without one is told so before anything is uploaded
        found = await _version(api, script)
        notices: list[str] = []
        known = service.version()
        uploads = found is None or found < known or (force and found == known)
        if uploads:
            try:
                with calling(f"upload the Worker {script!r}", service="workers", kind="create"):
                    await _upload(api, script, token if found is None else None)
            except ProviderError:
                if found == known or not await _is_uploaded(api, script, known):
                    raise  # else somebody else has done it at the same time
            what = "created" if found is None else "updated" if found < known else "uploaded again"
            notices.append(f"the state service {script} was {what}")
        elif found is not None and found > known:
            notices.append(
                f"the state service {script} has version {found}, newer than this library's {known}; it stays"
            )
        address, is_new = await _address(api, script)
        if is_new and found is not None:
            notices.append(f"the workers.dev address of the state service {script} was switched on")
    finally:
        await api.close()
    seconds = _NEW_SECONDS if uploads or is_new else _KNOWN_SECONDS
    version = await until_it_answers(address, token, seconds=seconds, version=known if uploads else 0)
    return Deployed(address, version, notices)


async def change_token(script: str, token: Secret[str]) -> str:
    """Give the service on the account another token, and return its address when it accepts that.

    Raises:
        ConfigurationError: there is no such service, or the environment has no credentials for the account.
    """
    api = await connect()
    try:
        if await _version(api, script) is None:
            raise ConfigurationError(
                f"the account has no Worker {script!r}", hint="the first deploy with the store cloudflare: makes it"
            )
        with calling(f"set a secret of the Worker {script!r}", service="workers"):
            await _set_secret(api, script, token)
        address, _ = await _address(api, script)
    finally:
        await api.close()
    await until_it_answers(address, token, seconds=_NEW_SECONDS, refusals=True)
    return address


async def _set_secret(api: Cloudflare, script: str, token: Secret[str]) -> None:
    """Send it. Apart from its caller, so that the token in clear is in no frame that an error shows."""
    await api.sdk.workers.scripts.secrets.update(
        script, account_id=api.account_id, name=_SECRET, text=token.reveal(), type="secret_text"
    )


async def _version(api: Cloudflare, script: str) -> int | None:
    """Give the deployed service's version; `None` when there is no Worker of that name."""
    try:
        with calling(f"read the Worker {script!r}", service="workers"):
            found = await api.sdk.workers.scripts.script_and_version_settings.get(script, account_id=api.account_id)
    except Gone:
        return None
    tags = found.tags or []
    for tag in tags:
        version = tag.removeprefix(_MARK).partition(":")[0]
        if tag.startswith(_MARK) and version.isdigit():
            return int(version)
    typescript = any(tag.startswith(_TYPESCRIPT) for tag in tags)
    what = "the state service of Alchemy for TypeScript" if typescript else "not this library's state service"
    raise ConfigurationError(
        f"the account has a Worker {script!r} that is {what}; it was not touched",
        hint="choose another name: cloudflare:?script_name=NAME, or script_name=…",
    )


async def _is_uploaded(api: Cloudflare, script: str, version: int) -> bool:
    """Say whether the account has a version after all; whoever is uploading it may not be done yet."""
    for pause in _LOOKS:
        await asyncio.sleep(pause)
        if (await _version(api, script) or 0) >= version:
            return True
    return False


async def _upload(api: Cloudflare, script: str, token: Secret[str] | None) -> None:
    """Send the script. Apart from its caller, so that the token in clear is in no frame that an error shows."""
    store = {"type": "durable_object_namespace", "name": "STORE", "class_name": service.CLASS}
    metadata: dict[str, object] = {
        "main_module": f"{service.SCRIPT}.js",
        "compatibility_date": service.COMPATIBILITY_DATE,
        "bindings": [store],
        "tags": [f"{_MARK}{service.version()}:{service.digest()}"],
    }
    if token is None:
        metadata["keep_bindings"] = ["secret_text"]
    else:
        secret = {"type": "secret_text", "name": _SECRET, "text": token.reveal()}
        metadata["bindings"] = [store, secret]
        metadata["migrations"] = {"new_tag": "v1", "new_sqlite_classes": [service.CLASS]}
    module = (f"{service.SCRIPT}.js", service.source().encode(), "application/javascript+module")
    await api.sdk.workers.scripts.update(
        script,
        account_id=api.account_id,
        metadata=metadata,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        files=[module],
    )


async def _address(api: Cloudflare, script: str) -> tuple[str, bool]:
    """Give where the Worker answers, and whether it was only now told to."""
    with calling(f"let the Worker {script!r} answer", service="workers"):
        found = await api.sdk.workers.scripts.subdomain.get(script, account_id=api.account_id)
        extra = found.model_extra
        if not found.enabled:
            made = await api.sdk.workers.scripts.subdomain.create(
                script, account_id=api.account_id, enabled=True, previews_enabled=False
            )
            extra = made.model_extra
    local = (extra or {}).get("local_url")  # the Cloudflare on this machine says it itself
    address = str(local) if local else f"https://{script}.{await api.workers_subdomain()}.workers.dev"
    return address, not found.enabled


async def until_it_answers(
    address: str, token: Secret[str], *, seconds: float, version: int = 0, refusals: bool = False
) -> int:
    """Wait until a service of at least that version answers: after an upload, the one before answers for a while.

    Gives that version. Raises what was wrong last, and at once when the token is refused, unless `refusals` may pass.
    """
    client = ServiceClient(address, token, name=address)
    end = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    try:
        while True:
            problem: AlchemyError
            try:
                found: dict[str, int] = await client.ask("version", chain="")
                check_version(found["version"], needed=version, name=address)
                return found["version"]
            except (ConfigurationError, StateError) as error:
                if isinstance(error, TokenRefused) and not refusals:
                    raise
                problem = error  # where a new address is not known yet, a page says so
            if time.monotonic() + pause > end:
                raise problem
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
    finally:
        await client.close()
