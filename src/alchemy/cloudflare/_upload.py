"""Uploading a Worker, and with it what becomes of its Durable Object classes.

Cloudflare takes that in two forms. `exports` says what the classes shall be, and is sent first; where the API refuses
it, `migrations` does, with steps and tags. A script that has had `exports` cannot go back, so that the record keeps
which one its script has. See docs/decisions/durable-object-classes.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from alchemy.clients.cloudflare import Cloudflare
from alchemy.clients.cloudflare_errors import calling
from alchemy.cloudflare import _objects
from alchemy.cloudflare._bindings import wire
from alchemy.cloudflare._modules import Bundle
from alchemy.cloudflare._objects import Move, Namespace, Plan
from alchemy.cloudflare.durable_object_namespace import DurableObjectNamespace
from alchemy.cloudflare.worker import Worker
from alchemy.errors import DeclarationError, ProviderError
from alchemy.provider import Context

if TYPE_CHECKING:
    from cloudflare.types.workers import ScriptUpdateResponse

EXPORTS, MIGRATIONS = "exports", "migrations"
_REFUSES = frozenset({10061, 10064, 100405, 100406})
"""Codes with which one form is refused and the other may be taken: an API that does not know `exports` passes over
them, and then finds no such class for a binding (10061), or misses one that there is in the script (10064); a script
that has one form does not take the other."""
_HAS_EXPORTS = frozenset({100402, 100405, 100406})
"""Codes with which a script that has `exports` refuses to do without: the first is that of a reconciliation, with
nothing. Its record need not know, when it was another Worker's move that gave it some."""
_PAGE = 1000  # the most: a list of one page cannot change between two


@dataclass(frozen=True, slots=True)
class Script:
    """What is uploaded.

    Attributes:
        date: the compatibility date.
    """

    name: str
    worker: Worker
    bundle: Bundle
    date: str


async def upload(ctx: Context[Worker], api: Cloudflare, script: Script, have: Worker | None) -> str:
    """Upload it, and give its etag. What is to become of its classes is durable before.

    Args:
        have: what was uploaded last.

    Raises:
        DeclarationError: a class with objects would be deleted without a word, or it cannot be done in one deploy.
        ProviderError: Cloudflare refused. Nothing was changed, unless a class moves here: that takes several requests.
    """
    own = _objects.own_classes(script.name, script.worker.bindings)
    known = _objects.following(_objects.remembered(ctx.data), script.name, have.bindings if have else {})
    if not own and not known:
        return (await _send(api, script, {})).etag or ""
    return await _Lifecycle(ctx, api, script, own, known).upload()


async def _send(
    api: Cloudflare, script: Script, lifecycle: Mapping[str, Any], *, without: Collection[str] = ()
) -> ScriptUpdateResponse:
    """Send the script, `without` some of its bindings."""
    with calling(f"upload the Worker {script.name!r}", service="workers", kind="create"):
        return await _put(api, script, lifecycle, without)


async def _put(
    api: Cloudflare, script: Script, lifecycle: Mapping[str, Any], without: Collection[str]
) -> ScriptUpdateResponse:
    """Make the request. Apart from its caller, so that secrets in clear are in no frame that an error shows."""
    worker, bundle = script.worker, script.bundle
    metadata: dict[str, Any] = {
        "main_module": bundle.main.name,
        "bindings": [wire(key, value, script.name) for key, value in worker.bindings.items() if key not in without],
        "compatibility_date": script.date,
        "compatibility_flags": list(worker.compatibility_flags),
        "observability": {"enabled": worker.observability},
        **lifecycle,
    }
    return await api.sdk.workers.scripts.update(
        script.name,
        account_id=api.account_id,
        metadata=cast("Any", metadata),
        files=[(module.name, module.content, module.type) for module in bundle.modules],
    )


class _Sent(NamedTuple):
    """An upload that was taken.

    Attributes:
        told: the answer says what came of `exports`.
    """

    form: str
    etag: str
    told: bool


class _Lifecycle:
    """One upload of a Worker that has, or had, Durable Object classes."""

    def __init__(
        self,
        ctx: Context[Worker],
        api: Cloudflare,
        script: Script,
        own: Mapping[str, DurableObjectNamespace],
        known: Mapping[str, _objects.Known],
    ) -> None:
        self.ctx = ctx
        self.api = api
        self.script = script
        self.own = own
        self.known = known
        self.wanted = {fqn: value.class_name for fqn, value in own.items()}
        self.account: Sequence[Namespace] = ()

    async def upload(self) -> str:
        made = await self._plan()
        await self._refuse_loss(made)
        await self._keep(_objects.expected(made, self.own, self.known))
        sent = await self._in_either_form(made)
        with _there():
            left = await self._plan()
        if sent.told or (made.has_work and not left.has_work):  # else nothing shows that the form was looked at
            self.ctx.data["lifecycle"] = sent.form
        self.ctx.data["classes"] = _objects.to_remember(_objects.expected(left, self.own, {}))
        return sent.etag

    async def _plan(self) -> Plan:
        self.account = await namespaces(self.api)
        there = {each.id for each in self.account if each.script != self.script.name}
        elsewhere: dict[str, _objects.Known] = {}
        for data in self.ctx.kept():
            kept = _objects.remembered(data).items()
            elsewhere |= {fqn: known for fqn, known in kept if fqn in self.own and known.namespace in there}
        unbound = [fqn for fqn in self.known if fqn not in self.own and self.ctx.declares(fqn)]
        return _objects.plan(self.script.name, self.wanted, self.known, elsewhere, self.account, unbound=unbound)

    async def _keep(self, known: Mapping[str, _objects.Known]) -> None:
        """Make durable what is about to be, so that a run after a crash knows each namespace by what it had become."""
        kept = _objects.to_remember(known)
        if kept != self.ctx.data.get("classes"):
            self.ctx.data["classes"] = kept
            await self.ctx.checkpoint()

    async def _refuse_loss(self, made: Plan) -> None:
        """Delete no class that has objects without a word, nor one whose namespace is still declared."""
        fqns = _objects.declared_as(made.leaving, self.known)
        for each in made.leaving:
            fqn = fqns.get(each.id, "")
            may_go = bool(fqn) and self.known[fqn].empty_on_delete
            stays = self.ctx.declares(fqn)
            if (stays or not may_go) and await has_objects(self.api, each):
                raise _too_early(each, fqn) if stays else _loss(each)

    async def _in_either_form(self, made: Plan) -> _Sent:
        """Upload in the form that the script has, else in that which Cloudflare takes."""
        has = self.ctx.data.get("lifecycle")
        first, second = (MIGRATIONS, EXPORTS) if has == MIGRATIONS else (EXPORTS, MIGRATIONS)
        try:
            return await self._in_form(first, made)
        except ProviderError as refused:
            declarative = first == MIGRATIONS and refused.code in _HAS_EXPORTS
            if not declarative and (refused.code not in _REFUSES or self.ctx.data.get("lifecycle") == EXPORTS):
                raise
            try:
                return await self._in_form(second, made)
            except ProviderError as again:
                if declarative or again.ambiguous or again.retryable:
                    raise
                raise refused from None  # neither is taken: the first says why

    async def _in_form(self, form: str, made: Plan) -> _Sent:
        if form == EXPORTS and made.moves:
            made = await self._take_over(made)
            with _there():
                answer = await _send(self.api, self.script, {"exports": _objects.exports(made)})
        elif form == EXPORTS:
            answer = await _send(self.api, self.script, {"exports": _objects.exports(made)})
        else:
            steps = _objects.migrations(made, await self._tag())
            answer = await _send(self.api, self.script, {"migrations": steps} if steps else {})
        told = getattr(answer, "exports_reconciliation", None) is not None  # a field in some versions of the SDK only
        return _Sent(form, answer.etag or "", told)

    async def _take_over(self, made: Plan) -> Plan:
        """Have other Workers hand classes over, and plan what is left.

        Three uploads: this script expects the class, that one gives it, this one has it. It has no binding to it
        before the end, because Cloudflare resolves none to a class that a script only expects.
        """
        arriving = {move.fqn for move in made.moves}
        bindings = self.script.worker.bindings.items()
        without = [
            key for key, value in bindings if isinstance(value, DurableObjectNamespace) and value.fqn in arriving
        ]
        await _send(self.api, self.script, {"exports": _objects.exports(made)}, without=without)
        with _there():
            for source in dict.fromkeys(move.source.script for move in made.moves):
                async with await self.ctx.shared(f"cloudflare: from {source}", _lock):  # several may take from one
                    await self._hand_over(source, [move for move in made.moves if move.source.script == source])
            left = await self._plan()
        if not left.moves:
            self.ctx.data["lifecycle"] = EXPORTS
        return left

    async def _hand_over(self, source: str, moves: Sequence[Move]) -> None:
        """Have the Worker `source`, which may not have been deployed in this run, give classes away.

        Its code stays as it is, its bindings to these classes go. Its own upload comes later, if it has one.
        """
        self.account = await namespaces(self.api)
        settings = self.api.sdk.workers.scripts.script_and_version_settings
        given = {move.source.class_name for move in moves}
        with calling(f"read the Worker {source!r}", service="workers", kind="list"):
            answer = await settings.with_raw_response.get(source, account_id=self.api.account_id)
            shown = cast("dict[str, dict[str, Any]]", await answer.json())["result"]
        bindings = cast("Sequence[Mapping[str, Any]]", shown.get("bindings") or ())
        kept = [{"type": "inherit", "name": each["name"]} for each in bindings if not _is_to(each, source, given)]
        changed: Any = {"bindings": kept, "exports": _objects.handover(moves, self.account, self.script.name)}
        what = ", ".join(sorted(given))
        with calling(f"have the Worker {source!r} hand over {what}", service="workers", kind="list"):
            await settings.edit(source, account_id=self.api.account_id, settings=changed)

    async def _tag(self) -> str | None:
        """Look up the tag of the last migration."""
        with calling("list the Workers", service="workers", kind="list"):
            async for script in self.api.sdk.workers.scripts.list(account_id=self.api.account_id):
                if script.id == self.script.name:
                    return script.migration_tag
        return None


async def _lock() -> asyncio.Lock:
    return asyncio.Lock()


@contextlib.contextmanager
def _there() -> Generator[None, None, None]:
    """Say of what fails inside that the Worker may be there all the same, though it is being created."""
    try:
        yield
    except ProviderError as error:
        error.ambiguous = True
        raise


async def namespaces(api: Cloudflare) -> list[Namespace]:
    """List the Durable Object namespaces of the account."""
    found: list[Namespace] = []
    with calling("list the Durable Object namespaces", service="workers", kind="list"):
        async for each in api.sdk.durable_objects.namespaces.list(account_id=api.account_id, per_page=_PAGE):
            found.append(Namespace(each.id or "", each.class_ or "", each.script or ""))
    return found


async def refuse_to_take_along(ctx: Context[Worker], api: Cloudflare, script: str) -> None:
    """Refuse to delete a script with a class that the program declares, and that another Worker's record has as well.

    So it is after a move whose end the other one's record does not know of, when the program no longer wants the move.

    Raises:
        DeclarationError: the class has objects; says how the other one gets it back.
    """
    known = _objects.remembered(ctx.data)
    declared = {fqn for fqn in known if ctx.declares(fqn)}
    others = [_objects.remembered(data).values() for data in ctx.kept() if data is not ctx.data]
    shared = {each.namespace for kept in others for each in kept} & {known[fqn].namespace for fqn in declared} - {""}
    for each in await namespaces(api) if shared else ():
        if each.script == script and each.id in shared and await has_objects(api, each):
            raise DeclarationError(
                f"the Worker {script!r} has the class {each.class_name!r}, which has objects, and which is another "
                "Worker's by the program",
                hint="let that one take it back: deploy with --force; this one is deleted after it",
            )


async def has_objects(api: Cloudflare, namespace: Namespace) -> bool:
    """Say whether there is an object of a class."""
    with calling(f"list the objects of the class {namespace.class_name!r}", service="workers", kind="list"):
        async for _ in api.sdk.durable_objects.namespaces.objects.list(
            namespace.id, account_id=api.account_id, limit=10
        ):
            return True
    return False


def _is_to(binding: Mapping[str, Any], script: str, classes: Collection[str]) -> bool:
    """Say whether a binding of `script` is to one of its own `classes`."""
    return (
        binding.get("type") == "durable_object_namespace"
        and binding.get("script_name") in (None, "", script)
        and binding.get("class_name") in classes
    )


def _too_early(namespace: Namespace, fqn: str) -> DeclarationError:
    return DeclarationError(
        f"the Worker {namespace.script!r} would lose the class {namespace.class_name!r}, which has objects, and the "
        f"program still declares {fqn}",
        hint=f"{_objects.COMES_FIRST}; if it came here by a deploy that did not end, let the one that had it take it "
        "back: deploy with --force; else bind it again, or take it out of the program",
    )


def _loss(namespace: Namespace) -> DeclarationError:
    return DeclarationError(
        f"the Worker {namespace.script!r} would lose the class {namespace.class_name!r}, which has objects: nothing "
        "is bound to it any more",
        hint="bind it again; or, to delete it with all that its objects have stored, declare its "
        "DurableObjectNamespace with empty_on_delete=True, deploy, and then take it away",
    )
