"""Workers: JavaScript that answers requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, Union, cast

from alchemy.clients.cloudflare import Cloudflare
from alchemy.clients.cloudflare_errors import calling
from alchemy.cloudflare.d1_database import D1Database
from alchemy.cloudflare.durable_object_namespace import (
    DurableObjectNamespace,
    own_namespaces,
    refuse_second_holder,
    take_note_of_holder,
)
from alchemy.cloudflare.kv_namespace import KVNamespace
from alchemy.cloudflare.provider import CloudflareProvider
from alchemy.cloudflare.r2_bucket import R2Bucket
from alchemy.errors import DeclarationError, Gone, ProviderError
from alchemy.names import Naming
from alchemy.provider import Context
from alchemy.resource import Resource, detached, output, prop
from alchemy.secret import Secret
from alchemy.state import Json

COMPATIBILITY_DATE = "2026-07-30"
"""What a Worker without a date of its own is created with. Raised now and then; Workers that exist keep theirs."""

if TYPE_CHECKING:
    from alchemy.cloudflare._modules import Bundle

    Plain: TypeAlias = str | int | float | bool | Mapping[str, "Plain"] | Sequence["Plain"] | None
else:
    Plain = Any  # type checkers look into JSON values; a constructor does not, and its message stays short

Binding: TypeAlias = Union[
    D1Database,
    KVNamespace,
    R2Bucket,
    DurableObjectNamespace,
    "Worker",
    Secret[str],
    str,
    int,
    float,
    bool,
    Mapping[str, Plain],
    Sequence[Plain],
]
"""What a Worker can be bound to."""


class Worker(
    Resource,
    kind="cloudflare::Worker",
    provider="alchemy.cloudflare.worker:WorkerProvider",
    reference=("script_name",),
):
    """A Worker. Deleting it deletes its Durable Object classes with all that their objects have stored.

    Attributes:
        entrypoint: its main module, a file; relative to the working directory. What it imports from local files goes
            with it.
        script: its main module as text. Exactly one of these two.
        name: up to 63 of `a-z`, `0-9`, `-` and `_`; by default one made from the id. Another name replaces it.
        bindings: what its code finds in `env`. D1, KV, R2, Durable Objects and other Workers as what they are; a
            `Secret` as text that nobody can read afterwards; a text as text; anything else as JSON.
        compatibility_date: of the runtime's behaviour, `YYYY-MM-DD`. By default that of the version of this package
            that created the Worker, which then stays.
        compatibility_flags: such as `nodejs_compat`.
        workers_dev: answer at `https://NAME.SUBDOMAIN.workers.dev`.
        bundle: `modules` uploads local files as they are; `esbuild` bundles npm packages and TypeScript, with the
            esbuild of the project.
        observability: keep its logs at Cloudflare.
        url: where it answers; `None` without `workers_dev`.
        script_name: the name it has.
        etag: Cloudflare's word for what was uploaded.

    Source: https://developers.cloudflare.com/api/resources/workers/subresources/scripts/
    """

    entrypoint: str | Path | None = None
    script: str | None = None
    name: str | None = prop(default=None, replace=True)
    bindings: Mapping[str, Binding] = prop(default_factory=dict)
    compatibility_date: str | None = None
    compatibility_flags: Sequence[str] = ()
    workers_dev: bool = True
    bundle: Literal["modules", "esbuild"] = "modules"
    observability: bool = False
    url: str | None = output()
    script_name: str = output()
    etag: str = output()

    if not TYPE_CHECKING:  # the signature is that of the fields

        def __init__(self, *args: Any, **given: Any) -> None:
            own = own_namespaces(given.get("bindings"))
            for namespace in own:
                refuse_second_holder(namespace, args[0] if args else given.get("id"))
            super().__init__(*args, **given)
            for namespace in own:
                take_note_of_holder(namespace, self.id)

    def fingerprint(self) -> Mapping[str, Json] | None:
        """Give the hashes of its modules: an input like the others, so that editing any of them is a change.

        Raises:
            DeclarationError: a module is missing, or cannot be one.
        """
        return bundle_of(self).fingerprint()


def bundle_of(worker: Worker) -> Bundle:
    """Read what a Worker is made of.

    Raises:
        DeclarationError: neither or both of `entrypoint` and `script`; or see `collect`.
    """
    if (worker.entrypoint is None) == (worker.script is None):
        which = "both 'entrypoint' and 'script'" if worker.script is not None else "neither 'entrypoint' nor 'script'"
        raise DeclarationError(
            f"cloudflare::Worker {worker.id!r} has {which}",
            hint="declare exactly one: a file, or the text of a module",
        )
    from alchemy.cloudflare._modules import collect, inline

    if worker.script is not None:
        return inline(worker.script)
    entrypoint = cast("str | Path", worker.entrypoint)
    if worker.bundle == "esbuild":
        from alchemy.cloudflare import _esbuild

        return _esbuild.bundle(entrypoint)
    return collect(entrypoint)


class WorkerProvider(CloudflareProvider[Worker]):
    """Handles `cloudflare::Worker`."""

    naming: ClassVar[Naming | None] = Naming(max=63)

    async def find(self, ctx: Context[Worker], want: Worker) -> Worker | None:
        """Ask for it by its name."""
        return await self._get(ctx, want, ctx.name)

    async def read(self, ctx: Context[Worker], have: Worker) -> Worker | None:
        """Ask for it by its name, which is its identity."""
        return await self._get(ctx, have, have.script_name)

    async def _get(self, ctx: Context[Worker], declared: Worker, name: str) -> Worker | None:
        from alchemy.cloudflare._bindings import observed

        api = await self.api(ctx)
        scripts = api.sdk.workers.scripts
        try:
            with calling(f"read the Worker {name!r}", service="workers"):
                answer = await scripts.script_and_version_settings.with_raw_response.get(
                    name, account_id=api.account_id
                )
                settings = cast("dict[str, dict[str, Any]]", await answer.json())["result"]
        except Gone:
            return None
        etag = await _etag(api, name)
        if etag is None:
            return None
        with calling(f"read where the Worker {name!r} answers", service="workers"):
            place = await scripts.subdomain.get(name, account_id=api.account_id)
        url = await _url(api, name, place.enabled, place.model_extra)
        date = declared.compatibility_date
        observability = cast("dict[str, Any]", settings.get("observability") or {})
        return detached(
            declared,
            bindings=observed(declared.bindings, settings.get("bindings") or [], name),
            compatibility_date=settings.get("compatibility_date") if date is not None else None,
            compatibility_flags=tuple(settings.get("compatibility_flags") or ()),
            workers_dev=place.enabled,
            observability=bool(observability.get("enabled")),
            script_name=name,
            etag=etag,
            url=url,
        )

    async def create(self, ctx: Context[Worker], want: Worker) -> Worker:
        """Upload the script, then let it answer. Cloudflare tries a script out first: a bad one changes nothing."""
        return await self._deploy(ctx, want, ctx.name, None)

    async def update(self, ctx: Context[Worker], want: Worker, have: Worker) -> Worker:
        """Upload it again, whole: settings and bindings that are not declared any more go."""
        return await self._deploy(ctx, want, have.script_name, have)

    async def _deploy(self, ctx: Context[Worker], want: Worker, name: str, have: Worker | None) -> Worker:
        from alchemy.cloudflare._upload import Script, upload

        bundle = await asyncio.to_thread(bundle_of, want)
        api = await self.api(ctx)
        if want.workers_dev and api.own:
            await api.workers_subdomain()  # an account without one is told so before anything is uploaded
        date = want.compatibility_date or ctx.data.setdefault("compatibility_date", COMPATIBILITY_DATE)
        etag = await upload(ctx, api, Script(name, want, bundle, date), have)
        await ctx.checkpoint(script_name=name, etag=etag, url=None)
        try:
            with calling(f"let the Worker {name!r} answer", service="workers"):
                place = await api.sdk.workers.scripts.subdomain.create(
                    name, account_id=api.account_id, enabled=want.workers_dev
                )
            url = await _url(api, name, want.workers_dev, place.model_extra)
        except ProviderError as error:
            error.ambiguous = True  # the Worker is there, though its create failed
            raise
        return ctx.result(script_name=name, etag=etag, url=url)

    async def delete(self, ctx: Context[Worker], have: Worker) -> None:
        """Delete it. Never by force: Cloudflare refuses while another Worker is bound to it, and then that one, which
        is not of this program (its own go first), would break.

        Raises:
            DeclarationError: it has a class that another Worker of the program is to have.
        """
        from alchemy.cloudflare._upload import refuse_to_take_along

        api = await self.api(ctx)
        await refuse_to_take_along(ctx, api, have.script_name)
        try:
            with calling(f"delete the Worker {have.script_name!r}", service="workers"):
                await api.sdk.workers.scripts.delete(have.script_name, account_id=api.account_id)
        except Gone:
            return


async def _etag(api: Cloudflare, name: str) -> str | None:
    """Find it in the list of scripts: the API shows it nowhere else without the script itself."""
    with calling("list the Workers", service="workers", kind="list"):
        async for script in api.sdk.workers.scripts.list(account_id=api.account_id):
            if script.id == name:
                return script.etag or ""
    return None


async def _url(api: Cloudflare, name: str, enabled: bool, extra: Mapping[str, Any] | None) -> str | None:
    """Say where it answers. The Cloudflare on this machine says so itself, in a field that is not Cloudflare's."""
    if not enabled:
        return None
    local = (extra or {}).get("local_url")
    return str(local) if local else f"https://{name}.{await api.workers_subdomain()}.workers.dev"
