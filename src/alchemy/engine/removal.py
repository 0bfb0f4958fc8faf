"""`alchemy.destroy`: destroy something of the running program, before its end."""

from __future__ import annotations

from alchemy.engine.deleting import doom
from alchemy.engine.engine import Engine
from alchemy.engine.teardown import Destroyer
from alchemy.errors import DeclarationError
from alchemy.finalizing import Finalize
from alchemy.names import is_within
from alchemy.resource import Resource
from alchemy.scope import Scope


async def remove(what: Scope | Resource) -> list[str]:
    """Destroy a resource or all that is in a scope; see `alchemy.destroy`."""
    scope, fqn = _place(what)
    engine = scope.runner
    if scope.root.closed or not isinstance(engine, Engine):
        raise DeclarationError(f"{fqn} cannot be destroyed: its scope is finalized already")
    await engine.ready.wait()
    if isinstance(what, Scope):
        await what.nursery.join()
    elif what._declared is not None:
        await what._declared.latch.wait()
    records = engine.run.all_records()
    inside = {name: pair for name, pair in records.items() if is_within(name, fqn) and name != engine.run.unit}
    for name, (record, _) in records.items():
        needed = [dep for dep in record.needs if dep in inside]
        if name not in inside and needed:
            raise DeclarationError(
                f"{needed[0]} cannot be destroyed: {name} depends on it", hint=f"destroy {name} first"
            )
    destroyer = Destroyer(engine.run, scope.nursery, Finalize(scope.settings))
    await destroyer.destroy(doom(inside.values(), whole=True))
    _forget(what)
    return destroyer.destroyed


def _place(what: Scope | Resource) -> tuple[Scope, str]:
    if isinstance(what, Scope):
        return what, what.chain
    if what._declared is None:
        raise DeclarationError(f"{what.id!r} belongs to no scope: it is a handler's copy")
    return what._declared.scope, what.fqn


def _forget(what: Scope | Resource) -> None:
    """Take it out of its scope, so that it can be declared again."""
    if isinstance(what, Resource):
        assert what._declared is not None
        what._declared.scope.resources.pop(what.id, None)
    elif what.parent is not None:
        what.resources.clear()
        what.scopes.clear()
