"""From an entrypoint to the modules of an upload, without Node.

Local files that are imported, directly or not, become modules of their own, named by their paths below a folder that
holds them all, so that `./lib/x.js` means the same there as here. What the runtime provides (`cloudflare:…`,
`node:…`) stays; a package is an error, because finding one needs a bundler that knows npm.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from alchemy.cloudflare._javascript import Import, imports
from alchemy.errors import DeclarationError
from alchemy.state import Json

JAVASCRIPT = "application/javascript+module"
_TYPES: Mapping[str, str] = {
    ".js": JAVASCRIPT,
    ".mjs": JAVASCRIPT,
    ".json": "application/json",
    ".txt": "text/plain",
    ".html": "text/plain",
    ".sql": "text/plain",
    ".wasm": "application/wasm",
    ".bin": "application/octet-stream",
}
_TYPESCRIPT = frozenset({".ts", ".mts", ".cts", ".tsx", ".jsx"})
_RUNTIME = ("cloudflare:", "node:", "workerd:")
_NODE = frozenset(
    re.findall(
        r"\w+",
        "assert async_hooks buffer crypto diagnostics_channel dns events fs http https module net os path process "
        "punycode querystring stream string_decoder timers tls url util zlib",
    )
)
_USE_ESBUILD = 'declare bundle="esbuild", which can'


@dataclass(frozen=True, slots=True)
class Module:
    """One file of an upload.

    Attributes:
        name: what the others import it by: a path with `/`, relative to the upload.
        content: its bytes.
        type: its media type, by which Cloudflare tells what importing it gives.
    """

    name: str
    content: bytes
    type: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is uploaded. The first module is the main one; the rest are sorted by name."""

    modules: tuple[Module, ...]

    @property
    def main(self) -> Module:
        """Give the module whose default export answers requests."""
        return self.modules[0]

    def fingerprint(self) -> Mapping[str, Json]:
        """Give what to compare it by: the SHA-256 of each module, in hexadecimal."""
        digests = {each.name: hashlib.sha256(each.content).hexdigest() for each in self.modules}
        return {"main": self.main.name, "modules": digests}


def inline(script: str) -> Bundle:
    """Make an upload of a text.

    Raises:
        DeclarationError: it imports something that only a file could.
    """
    for each in imports(script):
        if not each.specifier.startswith(_RUNTIME):
            raise DeclarationError(
                f"line {each.line} of an inline script imports {each.specifier!r}",
                hint="put the script into a file and declare it as entrypoint",
            )
    return Bundle((Module("worker.js", script.encode(), JAVASCRIPT),))


def collect(entrypoint: str | Path) -> Bundle:
    """Read an entrypoint and all local files that it imports, directly or not.

    Args:
        entrypoint: a `.js` or `.mjs` file; relative to the working directory.

    Raises:
        DeclarationError: a file is missing, of a kind that cannot be a module, or imports what is not a local file;
            names who imports it, and where.
    """
    entry = _entry(entrypoint)
    contents: dict[Path, bytes] = {entry: _read(entry, str(entrypoint))}
    waiting = [entry]
    while waiting:
        importer = waiting.pop()
        if _TYPES[importer.suffix] != JAVASCRIPT:
            continue
        for path, where in _local_imports(importer, contents[importer]):
            if path not in contents:
                contents[path] = _read(path, where)
                waiting.append(path)
    root = Path(os.path.commonpath([path.parent for path in contents]))
    modules = {path: Module(_name(path, root), content, _TYPES[path.suffix]) for path, content in contents.items()}
    main = modules.pop(entry)
    return Bundle((main, *sorted(modules.values(), key=lambda module: module.name)))


def absolute(path: str | Path) -> Path:
    """Give a path as seen from the working directory, without `..` but with the links in it: names come from it."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would follow links)


def _entry(entrypoint: str | Path) -> Path:
    entry = absolute(entrypoint)
    if not entry.is_file():
        raise DeclarationError(
            f"the entrypoint {str(entrypoint)!r} {'is not a file' if entry.exists() else 'does not exist'}",
            hint=f"correct the path; it is looked for from {Path.cwd()}",
        )
    if entry.suffix in _TYPESCRIPT:
        raise DeclarationError(
            f"the entrypoint {str(entrypoint)!r} is not plain JavaScript and must be compiled", hint=_USE_ESBUILD
        )
    if _TYPES.get(entry.suffix) != JAVASCRIPT:
        raise DeclarationError(
            f"the entrypoint {str(entrypoint)!r} is not a JavaScript module", hint="its name must end with .js or .mjs"
        )
    return entry


def _local_imports(importer: Path, content: bytes) -> Iterator[tuple[Path, str]]:
    try:
        found = imports(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DeclarationError(f"{_shown(importer)} is not UTF-8 text: {error}") from error
    except DeclarationError as error:
        raise DeclarationError(f"{_shown(importer)}, {error.message}", hint=error.hint) from None
    for each in found:
        if not each.specifier.startswith(_RUNTIME):
            where = f"{_shown(importer)}, line {each.line}, imports {each.specifier!r}"
            yield _resolve(importer, each, where), where


def _resolve(importer: Path, each: Import, where: str) -> Path:
    specifier = each.specifier
    if not specifier.startswith(("./", "../")):
        raise DeclarationError(f"{where}, which is not a local file", hint=_hint_for_bare(specifier))
    path = Path(os.path.normpath(importer.parent / specifier))
    if not path.is_file():
        raise DeclarationError(f"{where}, and there is no such file", hint=_hint_for_missing(path, specifier))
    if path.suffix in _TYPESCRIPT:
        raise DeclarationError(f"{where}, which must be compiled", hint=_USE_ESBUILD)
    if path.suffix not in _TYPES:
        raise DeclarationError(
            f"{where}, and a file of that kind cannot be a module", hint=f"it can be {', '.join(_TYPES)}"
        )
    return path


def _hint_for_bare(specifier: str) -> str:
    if specifier.partition("/")[0] in _NODE:
        return f"write 'node:{specifier}', with the compatibility flag nodejs_compat"
    if specifier.startswith("/"):
        return "write the path relative to the importing file, beginning with ./ or ../"
    if ":" in specifier:
        return "download it, and import the file"
    return f"a package of npm needs a bundler: {_USE_ESBUILD}; a file's path begins with ./ or ../"


def _hint_for_missing(path: Path, specifier: str) -> str:
    for suffix in (".js", ".mjs", ".json", ".ts"):
        if path.with_name(path.name + suffix).is_file():
            return f"write the whole name: '{specifier}{suffix}'"
    if (path / "index.js").is_file():
        return f"write the file's name: '{specifier.rstrip('/')}/index.js'"
    return f"it was looked for at {_shown(path)}"


def _read(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DeclarationError(f"{where}, which cannot be read: {error.strerror}") from error


def _name(path: Path, root: Path) -> str:
    return str(PurePosixPath(path.relative_to(root)))


def _shown(path: Path) -> str:
    """Give a path as short as it can be: relative to the working directory where it lies in it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
