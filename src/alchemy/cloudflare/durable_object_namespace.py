"""Durable Object namespaces: classes of a Worker whose objects keep what they store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from alchemy.cloudflare.provider import CloudflareProvider
from alchemy.errors import DeclarationError
from alchemy.provider import Context, Recover
from alchemy.resource import Resource, detached, output, prop

if TYPE_CHECKING:
    from alchemy.cloudflare.worker import Worker
else:
    Worker = Resource  # that module imports this one; what else is a resource, `fingerprint` refuses

_HOLDER = "_holder"
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_SCRIPT = re.compile(r"[a-z0-9_][a-z0-9_-]*")


class DurableObjectNamespace(
    Resource,
    kind="cloudflare::DurableObjectNamespace",
    provider="alchemy.cloudflare.durable_object_namespace:DurableObjectNamespaceProvider",
    reference=("class_name", "script", "empty_on_delete"),
):
    """A Durable Object namespace: a class, and what its objects have stored, in SQLite.

    It is made by the upload of the Worker that it is bound to, and its id says what it is from one run to the next:
    with another `class_name` the class is renamed, bound to another Worker it moves there, and its data stays. When
    no Worker is bound to it any more, the class is deleted.

    Attributes:
        class_name: the class that the Worker's entrypoint exports.
        script_name: the Worker that has the class, or its name, when it is another than the one that is bound to it.
            That one is deployed before, and deleted after. By default the Worker itself.
        empty_on_delete: delete its objects with it. Without it, a deploy deletes no class that has objects.
        script: the name of that other Worker; `None`: the class is of the Worker that is bound to it.

    Source: https://developers.cloudflare.com/durable-objects/reference/durable-objects-migrations/
    """

    class_name: str
    script_name: str | Worker | None = prop(default=None)
    empty_on_delete: bool = False
    script: str | None = output()

    def fingerprint(self) -> Mapping[str, Any] | None:
        """Check what types cannot say.

        Raises:
            DeclarationError: `class_name` cannot be that of a class, or `script_name` that of a Worker.
        """
        if not _IDENTIFIER.fullmatch(self.class_name):
            raise DeclarationError(
                f"{self._kind} {self.id!r} has the class_name {self.class_name!r}, which is no name of a class",
                hint="write it as the entrypoint exports it",
            )
        of = self.script_name
        if isinstance(of, Resource) and type(of)._kind != "cloudflare::Worker":
            raise DeclarationError(
                f"{self._kind} {self.id!r} has a {type(of).__name__} as script_name", hint="pass a Worker, or its name"
            )
        if isinstance(of, str) and not _SCRIPT.fullmatch(of):
            raise DeclarationError(
                f"{self._kind} {self.id!r} has the script_name {of!r}, which is no name of a Worker",
                hint="pass the Worker, or its name at Cloudflare; leave it out for the Worker that is bound to it",
            )
        return None


def own_namespaces(bindings: object) -> list[DurableObjectNamespace]:
    """Give the namespaces among a Worker's bindings, as the program gave them, that are classes of its own."""
    values = cast("Mapping[str, Any]", bindings).values() if isinstance(bindings, Mapping) else ()
    found = [value for value in values if isinstance(value, DurableObjectNamespace)]
    return [value for value in found if value.script_name is None]


def refuse_second_holder(namespace: DurableObjectNamespace, worker: object) -> None:
    """Refuse a class that is another Worker's already: the two would take it from one another.

    Raises:
        DeclarationError: says how to be bound to a class of another Worker.
    """
    holder = namespace.__dict__.get(_HOLDER)
    if holder is not None:
        raise DeclarationError(
            f"{namespace._kind} {namespace.id!r} is a class of the Worker {holder!r} already, and {worker!r} is bound "
            "to it as to one of its own",
            hint=f"bind {worker!r} to a DurableObjectNamespace of another id, with class_name={namespace.class_name!r} "
            f"and the Worker {holder!r} as script_name",
        )


def take_note_of_holder(namespace: DurableObjectNamespace, worker: str) -> None:
    """Remember whose class it is, for `refuse_second_holder`."""
    namespace.__dict__[_HOLDER] = worker


class DurableObjectNamespaceProvider(CloudflareProvider[DurableObjectNamespace]):
    """Handles `cloudflare::DurableObjectNamespace`: only its record. The Worker's upload does the rest."""

    recover: ClassVar[Recover] = "again"

    async def read(
        self, ctx: Context[DurableObjectNamespace], have: DurableObjectNamespace
    ) -> DurableObjectNamespace | None:
        """Say whose class it is: there is nothing else that could have changed."""
        return detached(have, script=_script(have))

    async def create(
        self, ctx: Context[DurableObjectNamespace], want: DurableObjectNamespace
    ) -> DurableObjectNamespace:
        """Say whose class it is."""
        return ctx.result(script=_script(want))

    async def update(
        self, ctx: Context[DurableObjectNamespace], want: DurableObjectNamespace, have: DurableObjectNamespace
    ) -> DurableObjectNamespace:
        """Say so again; the Workers that are bound to it are uploaded after it."""
        return await self.create(ctx, want)

    async def delete(self, ctx: Context[DurableObjectNamespace], have: DurableObjectNamespace) -> None:
        """Forget it. The class went with the upload that had no binding to it any more, or with its Worker."""


def _script(declared: DurableObjectNamespace) -> str | None:
    of = declared.script_name
    return of if of is None or isinstance(of, str) else of.script_name
