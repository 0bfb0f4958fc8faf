"""What a program says about itself in plain sight, found without running it. Pure.

`alchemy destroy` works from state alone; the program only tells it which application is meant. So its text is read,
not its meaning: `alchemy("notes", stage="prod")` counts, also with constants of the module in place of the texts.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

OPTIONS = frozenset({"stage", "state_dir", "state_store", "local"})


@dataclass(frozen=True, slots=True)
class Opened:
    """One `alchemy(...)` in a program's text.

    Attributes:
        app: the application's name; `None` when it is computed.
        options: those of `OPTIONS` that are written as plain values.
        computed: those that are given, or may be, but computed.
        hidden: those of them that are surely given.
    """

    app: str | None
    options: dict[str, str | bool] = field(default_factory=dict[str, str | bool])
    computed: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()


def opened_in(source: bytes | str) -> list[Opened]:
    """List the applications that a program opens, in the order of its text. Raises `SyntaxError`."""
    tree = ast.parse(source)
    names, modules = _imported(tree)
    if not names and not modules:
        return []
    constants = _constants(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_alchemy(node.func, names, modules)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    return [_opened(call, constants) for call in calls]


def _imported(tree: ast.AST) -> tuple[set[str], set[str]]:
    """Give what the program calls `alchemy.alchemy`, and what it calls the package."""
    names: set[str] = set()
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("alchemy", "alchemy.app") and not node.level:
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "alchemy"}
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == "alchemy"}
    return names, modules


def _is_alchemy(function: ast.expr, names: set[str], modules: set[str]) -> bool:
    if isinstance(function, ast.Name):
        return function.id in names
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "alchemy"
        and isinstance(function.value, ast.Name)
        and function.value.id in modules
    )


def _constants(tree: ast.Module) -> dict[str, str | bool]:
    """Give the module's names that are assigned once, and a plain value."""
    found: dict[str, list[ast.expr | None]] = {}
    for node in tree.body:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        for target in targets:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(value)
    plain = {name: _plain(values[0], {}) for name, values in found.items() if len(values) == 1 and values[0]}
    return {name: value for name, value in plain.items() if value is not None}


def _plain(node: ast.expr, constants: dict[str, str | bool]) -> str | bool | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bool):
        return node.value
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    return None


def _opened(call: ast.Call, constants: dict[str, str | bool]) -> Opened:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    first = call.args[0] if call.args else keywords.get("app")
    app = _plain(first, constants) if first is not None else None
    options: dict[str, str | bool] = {}
    computed: set[str] = set()
    for name in OPTIONS & keywords.keys():
        value = keywords[name]
        plain = _plain(value, constants)
        if plain is not None:
            options[name] = plain
        elif not (isinstance(value, ast.Constant) and value.value is None):
            computed.add(name)
    hidden = frozenset(computed)
    if any(keyword.arg is None for keyword in call.keywords):  # **options may hold any of them
        computed |= OPTIONS - options.keys()
    return Opened(app if isinstance(app, str) else None, options, frozenset(computed), hidden)
