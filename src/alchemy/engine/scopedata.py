"""What a scope keeps between runs: values under keys, in its own record."""

from __future__ import annotations

from typing import Any

import msgspec

from alchemy.engine.run import Run
from alchemy.engine.session import Session
from alchemy.engine.values import Codec
from alchemy.names import parent
from alchemy.scope import Scope
from alchemy.serde import decode
from alchemy.state import JsonObject, Record


class ScopeData:
    """The values of one scope; each change is one durable write, and none when the value is the same."""

    def __init__(self, run: Run, scope: Scope) -> None:
        self._session: Session = run.session if scope.chain == run.unit else run.session_for(parent(scope.chain))
        self._record: Record = self._session.get(scope.chain) or run.scope_record(scope)
        settings, chain = scope.settings, scope.chain
        self._codec = Codec(lambda: run.cipher(settings, chain), chain, self._record.data)

    def values(self) -> dict[str, Any]:
        """Give all of them."""
        codec = self._codec
        return {key: decode(value, open_=codec.open, build=codec.build) for key, value in self._record.data.items()}

    async def set(self, key: str, value: Any) -> None:
        """Keep a value; secrets are encrypted."""
        encoded = self._codec.value(value)
        if self._record.data.get(key, ...) != encoded:
            await self._put({**self._record.data, key: encoded})

    async def delete(self, key: str) -> None:
        """Forget a value; it need not be there."""
        if key in self._record.data:
            await self._put({name: value for name, value in self._record.data.items() if name != key})

    async def _put(self, data: JsonObject) -> None:
        # got again: sealing the value may have written the scope's salt
        record = self._session.get(self._record.fqn) or self._record
        self._record = msgspec.structs.replace(record, data=data)
        await self._session.put(self._record)
