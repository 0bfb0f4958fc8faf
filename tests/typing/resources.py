"""What a type checker tells the author of a program, or of a resource, pinned down.

Never run. mypy checks it with the rest of the tests; every line that must be an error says which, and a comment for an
error that is none (any more) is an error itself. `pyright tests/typing` checks the same.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_type

from alchemy.fs import CopyFile, File, Folder
from alchemy.fs._file import FileProvider
from alchemy.os import Exec
from alchemy.provider import Context, Provider
from alchemy.random import RandomString
from alchemy.resource import Options, Resource, output, prop
from alchemy.secret import Secret


async def constructors() -> None:
    """Every way in which the inputs of a built-in resource can be right or wrong."""
    File("a", path="a.txt", content="text")
    File("a", path="a.txt", content=b"bytes", mode=0o600, options=Options(adopt=True, depends_on=[]))
    File(id="a", path="a.txt", content=Secret("text"))
    File("a", path="a.txt")  # type: ignore[call-arg]
    File(path="a.txt", content="text")  # type: ignore[call-arg]
    File("a", path="a.txt", content="text", contents="text")  # type: ignore[call-arg]
    File("a", "a.txt", path="a.txt", content="text")  # type: ignore[call-arg, arg-type]
    File("a", path=1, content="text")  # type: ignore[arg-type]
    File("a", path="a.txt", content=Secret(1))  # type: ignore[arg-type]
    File("a", path="a.txt", content="text", mode="0644")  # type: ignore[arg-type]
    File("a", path="a.txt", content="text", size=4)  # type: ignore[call-arg]
    File(1, path="a.txt", content="text")  # type: ignore[arg-type]
    Folder("b", path="b", mode=0o700, clean=True)
    Folder("b", path="b", clean="yes")  # type: ignore[arg-type]
    CopyFile("c", source="a", destination="b")
    CopyFile("c", source="a")  # type: ignore[call-arg]
    Exec("d", command=["true"], env={"A": "b", "C": Secret("d")}, inputs=("src/**",), timeout=5)
    Exec("d", command=["true", 1])  # type: ignore[list-item]
    Exec("d", command=["true"], env={"A": 1})  # type: ignore[dict-item]
    RandomString("e", length=8, encoding="base64url")
    RandomString("e", encoding="base32")  # type: ignore[arg-type]


async def outputs() -> None:
    """Awaiting gives the resource itself, whose outputs have their types."""
    file = await File("a", path="a.txt", content="text")
    assert_type(file, File)
    assert_type(file.absolute_path, str)
    assert_type(file.size, int)
    assert_type(file.sha256, str | None)
    assert_type(file.content, str | bytes | Secret[str])
    assert_type((await Folder("b", path="b")).absolute_path, str)
    assert_type((await CopyFile("c", source="a", destination="b")).sha256, str)
    assert_type((await Exec("d", command=["true"])).exit_code, int)
    secret = (await RandomString("e")).value
    assert_type(secret, Secret[str])
    File("f", path="f", content=secret)


async def invariance() -> None:
    """Inputs are read-only to a resource: containers of narrower types fit."""
    words: list[str] = ["true"]
    plain: dict[str, str] = {"A": "b"}
    secrets: dict[str, Secret[str]] = {"A": Secret("b")}
    files: list[File] = [File("a", path="a", content="")]
    Exec("d", command=words, inputs=tuple(words), env=plain)
    Exec("e", command=words, env=secrets, options=Options(depends_on=files))


class Odd(Resource, kind="test::Odd", provider=f"{__name__}:OddProvider"):
    """Inputs and outputs may be called what handlers and options are called."""

    read: str
    delete: bool = False
    timeout: float = 1.0
    name: str | None = None
    parts: Sequence[Resource] = ()
    by_name: Mapping[str, File] = prop(default_factory=dict)
    create: int = output()


class Odder(Odd, kind="test::Odder"):
    """A subclass has the inputs of its base, and its own after them, required or not."""

    extra: int
    found: str = output()


class OddProvider(Provider[Odd]):
    """Handlers are given, and give back, the resource that the provider is for."""

    name_input = "read"
    recover = "name"

    async def find(self, ctx: Context[Odd], want: Odd) -> Odd | None:
        """Look."""
        assert_type(ctx.want, Odd)
        assert_type(want.read, str)
        return None

    async def create(self, ctx: Context[Odd], want: Odd) -> Odd:
        """Create."""
        assert_type(ctx.result(create=1), Odd)
        return ctx.result(create=1)

    async def update(self, ctx: Context[Odd], want: File, have: Odd) -> Odd:  # type: ignore[override]
        """Take a resource of another class: an error."""
        return have


async def own_resources() -> None:
    """A resource of one's own behaves as the built-in ones do."""
    odd = await Odd("a", read="x", delete=True, timeout=2, parts=[File("b", path="b", content="")], by_name={})
    assert_type(odd, Odd)
    assert_type(odd.read, str)
    assert_type(odd.delete, bool)
    assert_type(odd.timeout, float)
    assert_type(odd.create, int)
    files: dict[str, File] = {}
    odder = await Odder("c", read="x", extra=1, by_name=files)
    assert_type(odder, Odder)
    assert_type((odder.read, odder.extra, odder.found), tuple[str, int, str])
    Odder("c", read="x")  # type: ignore[call-arg]
    Odder("c", extra=1)  # type: ignore[call-arg]
    Odd("a", read="x", create=1)  # type: ignore[call-arg]
    Odd("a", read="x", by_name={"b": odd})  # type: ignore[dict-item]


def providers() -> None:
    """A provider is one of its resource, and of no other."""
    of_files: type[Provider[File]] = FileProvider
    of_folders: type[Provider[Folder]] = FileProvider  # type: ignore[assignment]
    del of_files, of_folders
