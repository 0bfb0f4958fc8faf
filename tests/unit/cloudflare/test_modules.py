"""From an entrypoint to the modules of an upload."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alchemy.cloudflare._modules import JAVASCRIPT, collect, inline
from alchemy.errors import DeclarationError


def write(folder: Path, **files: str) -> None:
    """Write files; `__` in a name is a `/`, and a name without a suffix is JavaScript."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path if path.suffix else path.with_suffix(".js")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_is_imported_goes_with_it(tmp_path: Path) -> None:
    """Direct and indirect imports are modules, each once, also in a circle; other files are not."""
    write(
        tmp_path,
        worker='import "./lib/a.js"; import "./lib/b.js";',
        lib__a='export * from "./b.js";',
        lib__b='import("../worker.js");',
        unused="",
    )
    bundle = collect(tmp_path / "worker.js")
    assert [module.name for module in bundle.modules] == ["worker.js", "lib/a.js", "lib/b.js"]
    assert bundle.main.name == "worker.js"


def test_names_begin_where_all_files_are(tmp_path: Path) -> None:
    """An import above the entrypoint's folder moves the common folder up, so that relative names stay true."""
    write(tmp_path, app__src__worker='import "../../shared/x.js"; import "./y.js"', shared__x="", app__src__y="")
    names = [module.name for module in collect(tmp_path / "app" / "src" / "worker.js").modules]
    assert names == ["app/src/worker.js", "app/src/y.js", "shared/x.js"]


def test_a_suffix_says_what_a_module_is(tmp_path: Path) -> None:
    """Each kind of file is uploaded with the media type that makes it importable as what it is."""
    types = {
        "a.js": JAVASCRIPT,
        "a.mjs": JAVASCRIPT,
        "a.json": "application/json",
        "a.txt": "text/plain",
        "a.html": "text/plain",
        "a.sql": "text/plain",
        "a.wasm": "application/wasm",
        "a.bin": "application/octet-stream",
    }
    (tmp_path / "worker.js").write_text("".join(f'import "./{name}";' for name in types))
    for name, media in types.items():
        (tmp_path / name).write_bytes(b"" if media == JAVASCRIPT else b'import "./not-followed.js"')
    bundle = collect(tmp_path / "worker.js")
    assert {module.name: module.type for module in bundle.modules[1:]} == types


def test_what_the_runtime_provides_stays(tmp_path: Path) -> None:
    """`cloudflare:` and `node:` are not looked for."""
    write(tmp_path, worker='import { DurableObject } from "cloudflare:workers"; import fs from "node:fs";')
    assert len(collect(tmp_path / "worker.js").modules) == 1


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (
            '\nimport "./lib/none.js"',
            r"worker\.js, line 2, imports '\./lib/none\.js', and there is no such file",
            "none.js",
        ),
        ('import "./lib/there"', "no such file", r"'\./lib/there\.js'"),
        ('import "./lib"', "no such file", r"'\./lib/index\.js'"),
        ('import "./lib/typed"', "no such file", r"'\./lib/typed\.ts'"),
        ('import { Hono } from "hono"', "not a local file", r'bundle="esbuild"'),
        ('import "@scope/package/x.js"', "not a local file", r'bundle="esbuild"'),
        ('import "fs/promises"', "not a local file", "'node:fs/promises'.*nodejs_compat"),
        ('import "/lib/there.js"', "not a local file", "relative to the importing file"),
        ('import "https://example.com/x.js"', "not a local file", "download it"),
        ('import "./lib/typed.ts"', "must be compiled", r'bundle="esbuild"'),
        ('import "./lib/style.css"', "cannot be a module", r"\.wasm"),
        ('import "./lib/\\x61.js"', r"worker\.js, line 1", "without escapes"),
    ],
)
def test_what_cannot_be_a_module_is_named(tmp_path: Path, source: str, message: str, hint: str) -> None:
    """The error says who imports what, in which line, and what to write instead."""
    for name in ("there.js", "index.js", "typed.ts", "style.css"):
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib" / name).write_text("")
    (tmp_path / "worker.js").write_text(source)
    with pytest.raises(DeclarationError, match=message) as caught:
        collect(tmp_path / "worker.js")
    assert re.search(hint, caught.value.hint or "")


def test_paths_are_shown_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An importer below the working directory is named as one would type it."""
    write(tmp_path, src__worker='import "./none.js"')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeclarationError, match=r"^src/worker\.js, line 1"):
        collect("src/worker.js")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.js", "does not exist"),
        ("folder", "is not a file"),
        ("worker.ts", "must be compiled"),
        ("worker.py", "not a JavaScript module"),
        ("data.json", "not a JavaScript module"),
    ],
)
def test_an_entrypoint_must_be_a_module(tmp_path: Path, name: str, message: str) -> None:
    """What cannot be the main module is refused by its path, with what to do."""
    (tmp_path / "folder").mkdir()
    for file in ("worker.ts", "worker.py", "data.json"):
        (tmp_path / file).write_text("{}")
    with pytest.raises(DeclarationError, match=f"{name}.*{message}") as caught:
        collect(tmp_path / name)
    assert caught.value.hint


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    """JavaScript that is not UTF-8 is an error with its path."""
    (tmp_path / "worker.js").write_bytes(b"// \xff\nimport './a.js'")
    with pytest.raises(DeclarationError, match=r"worker\.js is not UTF-8"):
        collect(tmp_path / "worker.js")


def test_the_fingerprint_follows_contents_and_names(tmp_path: Path) -> None:
    """It is the same for the same files anywhere, and another one when any of them is edited, added or renamed."""
    prints = []
    for folder, text, name in (("a", "1", "x"), ("b", "1", "x"), ("c", "2", "x"), ("d", "1", "y")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, worker=f'import "./{name}.js"', **{name: text})
        prints.append(collect(tmp_path / folder / "worker.js").fingerprint())
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]
    assert prints[0] != prints[3]


def test_an_inline_script_is_one_module() -> None:
    """A text is uploaded as it is, and may import what the runtime provides."""
    (module,) = inline('import { DurableObject } from "cloudflare:workers"; export default {}').modules
    assert (module.name, module.type) == ("worker.js", JAVASCRIPT)


def test_an_inline_script_has_no_files_beside_it() -> None:
    """A relative import in a text is an error that says to use a file."""
    with pytest.raises(DeclarationError, match=r"line 2 .* '\./a\.js'") as caught:
        inline('export default {};\nimport "./a.js"')
    assert "entrypoint" in (caught.value.hint or "")
