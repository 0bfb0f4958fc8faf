"""Infrastructure as plain async Python.

```python
from alchemy import alchemy
from alchemy.cloudflare import D1Database, Worker

async def main() -> None:
    async with alchemy("notes") as app:
        db = D1Database("db")
        api = await Worker("api", entrypoint="src/worker.js", bindings={"DB": db})
        app.export(url=api.url)
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alchemy.app import alchemy
    from alchemy.names import Naming
    from alchemy.provider import Change, Context, Provider
    from alchemy.resource import Options, Resource, output, prop
    from alchemy.scope import Scope
    from alchemy.secret import Secret
    from alchemy.state_manager import StateManager

__all__ = [
    "Change",
    "Context",
    "Naming",
    "Options",
    "Provider",
    "Resource",
    "Scope",
    "Secret",
    "StateManager",
    "alchemy",
    "output",
    "prop",
]

_PLACES = {
    "Change": "provider",
    "Context": "provider",
    "Naming": "names",
    "Options": "resource",
    "Provider": "provider",
    "Resource": "resource",
    "Scope": "scope",
    "Secret": "secret",
    "StateManager": "state_manager",
    "alchemy": "app",
    "output": "resource",
    "prop": "resource",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `alchemy --help` loads none of the engine."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("alchemy-iac")
        except PackageNotFoundError:
            return "0"
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'alchemy' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"alchemy.{place}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
