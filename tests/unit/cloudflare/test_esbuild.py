"""Bundling with esbuild, where there is one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from alchemy.cloudflare._esbuild import bundle, find_esbuild
from alchemy.errors import DeclarationError

needs_esbuild = pytest.mark.skipif(shutil.which("esbuild") is None, reason="there is no esbuild on the PATH")


@pytest.fixture
def without_esbuild(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH on which there is no esbuild."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("without_esbuild")
def test_a_missing_esbuild_is_said_with_how_to_install_it(tmp_path: Path) -> None:
    """Without esbuild the error names the entrypoint and the command."""
    (tmp_path / "worker.ts").write_text("export default {}")
    with pytest.raises(DeclarationError, match=r"worker\.ts.*needs esbuild") as caught:
        bundle(tmp_path / "worker.ts")
    assert "npm install" in (caught.value.hint or "")


@pytest.mark.usefixtures("without_esbuild")
def test_the_esbuild_of_the_project_is_found(tmp_path: Path) -> None:
    """`node_modules/.bin` of the entrypoint's folder or one above it is looked into; what cannot run is passed by."""
    (tmp_path / "app" / "src").mkdir(parents=True)
    assert find_esbuild(tmp_path / "app" / "src") is None
    program = tmp_path / "node_modules" / ".bin" / "esbuild"
    program.parent.mkdir(parents=True)
    program.write_text("")
    assert find_esbuild(tmp_path / "app" / "src") is None
    program.chmod(0o755)
    assert find_esbuild(tmp_path / "app" / "src") == str(program)


def test_a_missing_entrypoint_is_said_first(tmp_path: Path) -> None:
    """The path is checked before esbuild is."""
    with pytest.raises(DeclarationError, match=r"none\.ts' does not exist"):
        bundle(tmp_path / "none.ts")


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    """An esbuild that is not a program is an error of the declaration, not of the machine."""
    (tmp_path / "worker.js").write_text("")
    program = tmp_path / "node_modules" / ".bin" / "esbuild"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x00")
    os.chmod(program, 0o755)
    with pytest.raises(DeclarationError, match="esbuild could not bundle"):
        bundle(tmp_path / "worker.js")


@needs_esbuild
def test_packages_and_typescript_become_one_module(tmp_path: Path) -> None:
    """A package of node_modules is bundled, WebAssembly stays a module, what the runtime has stays imported."""
    package = tmp_path / "node_modules" / "greeting"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "greeting", "main": "index.js"}')
    (package / "index.js").write_text("module.exports = 'hello from npm'")
    (tmp_path / "code.wasm").write_bytes(b"\0asm\1\0\0\0")
    (tmp_path / "worker.ts").write_text(
        'import greeting from "greeting"; import code from "./code.wasm"; import "cloudflare:workers";\n'
        "const text: string = greeting; export default { fetch() { return new Response(text + code) } };"
    )
    made = bundle(tmp_path / "worker.ts")
    assert [module.type for module in made.modules] == ["application/javascript+module", "application/wasm"]
    assert b"hello from npm" in made.main.content
    assert b"cloudflare:workers" in made.main.content
    assert bundle(tmp_path / "worker.ts").fingerprint() == made.fingerprint()


@needs_esbuild
def test_what_esbuild_refuses_is_shown(tmp_path: Path) -> None:
    """A syntax error comes with esbuild's own message."""
    (tmp_path / "worker.ts").write_text("export default {")
    with pytest.raises(DeclarationError, match=r"worker\.ts"):
        bundle(tmp_path / "worker.ts")
