"""Trees of FQNs for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

_Branch = dict[str, "_Branch"]


def draw(fqns: Iterable[str], words: Callable[[str], Sequence[str]]) -> Iterator[str]:
    """Give the lines of the tree that FQNs make.

    Args:
        words: what to say of an FQN: beside its name, and on lines below it. Asked for those above, too.
    """
    top: _Branch = {}
    for fqn in fqns:
        branch = top
        for part in fqn.split("/"):
            branch = branch.setdefault(part, {})
    return _lines(top, words, "", "")


def _lines(below: _Branch, words: Callable[[str], Sequence[str]], chain: str, indent: str) -> Iterator[str]:
    last = len(below) - 1
    for index, (name, inner) in enumerate(below.items()):
        fqn = f"{chain}/{name}" if chain else name
        guide, further = ("", "") if not chain else ("└─ ", "   ") if index == last else ("├─ ", "│  ")
        beside, *more = words(fqn) or [""]
        yield f"{indent}{guide}{name}  {beside}".rstrip()
        rail = indent + further + ("│  " if inner else "   ")
        yield from (f"{rail}{line}" for line in more)
        yield from _lines(inner, words, fqn, indent + further)
