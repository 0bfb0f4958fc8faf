"""Writing values in the text form of Cap'n Proto, which is what workerd reads its configuration in.

```
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "api", worker = (…))]);
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Embed:
    """The content of a file, taken in by workerd when it reads the configuration.

    Attributes:
        path: relative to the configuration file, or beginning with `/`: below a folder given with `--import-path`.
    """

    path: str


class _Void:
    pass


VOID: Final = _Void()

Value = str | bool | Embed | _Void | Mapping[str, "Value"] | Sequence["Value"]
"""Mappings are structs, other sequences lists. Text fields and enumerants are both written as Python strings."""


def document(config: Mapping[str, Value]) -> str:
    """Return a whole configuration file with the one constant `config`."""
    return f'using Workerd = import "/workerd/workerd.capnp";\nconst config :Workerd.Config = {render(config)};\n'


def render(value: Value) -> str:
    """Return one value; what it means depends on the schema's type of the field it stands in."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Embed):
        return f"embed {text(value.path)}"
    if isinstance(value, _Void):
        return "void"
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name} = {render(part)}" for name, part in value.items()) + ")"
    return "[" + ",\n ".join(render(part) for part in value) + "]"


def text(value: str) -> str:
    """Return a string literal. Every character survives, control characters and quotes included."""
    return '"' + "".join(_escape(character) for character in value) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if ord(character) < 0x20 or ord(character) == 0x7F:
        return f"\\x{ord(character):02x}"
    return character
