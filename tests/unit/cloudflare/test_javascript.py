"""The lexer that finds what a module imports."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alchemy.cloudflare._javascript import imports, tokens
from alchemy.errors import DeclarationError


def found(source: str) -> list[str]:
    """List the imported names."""
    return [each.specifier for each in imports(source)]


@pytest.mark.parametrize(
    "clause",
    [
        'import "./x.js"',
        "import './x.js'",
        'import"./x.js"',
        'import a from "./x.js"',
        'import a,{b}from"./x.js"',
        'import a, { b as c, default as d } from "./x.js"',
        'import * as a from "./x.js"',
        'import a, * as b from "./x.js"',
        'import {} from "./x.js"',
        'import { "a b" as c, from } from "./x.js"',
        'import from from "./x.js"',
        'import $a_1 from "./x.js"',
        'import { a } /* of */ from // the\n "./x.js"',
        'import\n  { a }\n  from\n  "./x.js"',
        'import data from "./x.js" with { type: "json" }',
        'import defer * as a from "./x.js"',
        'export * from "./x.js"',
        'export*from"./x.js"',
        'export * as a from "./x.js"',
        'export { a, b as default } from "./x.js"',
        'export {\n  a, // first\n} from "./x.js"',
        'import("./x.js")',
        "import(`./x.js`)",
        'import( /* late */ "./x.js" )',
        'import("./x.js", { with: { type: "json" } })',
        'const a = await import("./x.js"), b = 1',
        'function f() { return import("./x.js").then((m) => m.a) }',
        'if (a) { b = c / import("./x.js") / d }',
        '`${await import("./x.js")}`',
        '`a ${`b ${import("./x.js")} c`} d`',
        '#!/usr/bin/env node\nimport "./x.js"',
        '\ufeffimport "./x.js"',
    ],
)
def test_every_form_of_import_is_found(clause: str) -> None:
    """Each way to import a module with a constant name is found, alone and between other statements."""
    assert found(clause) == ["./x.js"]
    if not clause.startswith(("#!", "\ufeff")):
        assert found(f"const before = 1 / 2;\n{clause};\nexport default {{ fetch() {{}} }};\n") == ["./x.js"]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "export default { fetch() {} }",
        "import.meta.url",
        "const a = \"import './no.js'\"",
        "const a = 'import \"./no.js\"'",
        'const a = `import "./no.js"`',
        'const a = `${b} import "./no.js"`',
        'const a = `\\` import("./no.js")`',
        '// import "./no.js"',
        '/* import "./no.js" */',
        '/* \n * import("./no.js")\n */ 1',
        'const a = /import ".\\/no.js"/',
        'const a = /["\\/] from "no"/g.test(b)',
        'if (a) /import("no")/.test(a)',
        'return_ = 1; x = y => /from "no"/',
        'a.import("./no.js")',
        'a?.import("./no.js")',
        'a.import\n("./no.js")',
        'import("./" + name)',
        "import(name)",
        "import(`./${name}.js`)",
        'class A { import() {} from() { return "no" } }',
        'const a = { import: "./no.js", export: "./no.js", from: "./no.js" }',
        'export const from = "./no.js"',
        'export default from; "./no.js"',
        'export { a }; const b = "./no.js"',
        'let from = "./no.js"',
        'Array.from("./no.js")',
        'imports("./no.js")',
        'my_import("./no.js")',
        "exports.a = 1",
        'const re = /[/"]/; const a = "from"; f("./no.js")',
        "a = b++ / 2; c = \"import('./no.js')\"; d = e / 2",
        "const a = 'it\\'s import(\"./no.js\")'",
        "x = \"a\\\nimport './no.js'\"",
    ],
)
def test_what_only_looks_like_an_import_is_not(source: str) -> None:
    """Strings, templates, comments, regular expressions, members, names and computed imports are left alone."""
    assert found(source) == []
    assert found(f'{source}\n;import "./x.js"') == ["./x.js"]


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("a / b / c", "division"),
        ("(a) / b / c", "division"),
        ("a[0] / b / c", "division"),
        ("x = {} / b / c", "division"),
        ("1 / b / c", "division"),
        ("`t` / b / c", "division"),
        ("`t${1}` / b / c", "division"),
        ("a++ / b / c", "division"),
        ("this / b / c", "division"),
        ("a.return / b / c", "division"),
        ("a / b\n/ c", "division"),
        ("= / b / c", "regex"),
        ("(/ b /) c", "regex"),
        ("return / b / c", "regex"),
        ("typeof / b / c", "regex"),
        ("if (a) / b / c", "regex"),
        ("while (a) / b / c", "regex"),
        ("function f() {} / b / c", "regex"),
        ("{} / b / c", "regex"),
        ("else / b / c", "regex"),
        ("x => / b / c", "regex"),
        ("`${/ b /}` c", "regex"),
        ("[/ [/] b /] c", "regex"),
    ],
)
def test_a_slash_divides_or_opens_by_what_stands_before(source: str, kinds: str) -> None:
    """After a value a `/` divides; after an operator, a keyword, a condition or a block it opens a regex."""
    texts = [token.text for token in tokens(source)]
    assert any(text.startswith("/ ") and text.endswith("/") for text in texts) == (kinds == "regex")


def test_lines_are_counted_from_one() -> None:
    """The line of an import is that of its name."""
    source = 'import "./a.js";\n/* \n\n */ import {\n  b\n} from "./b.js";\nimport("./c.js")'
    assert [(each.specifier, each.line) for each in imports(source)] == [("./a.js", 1), ("./b.js", 6), ("./c.js", 7)]


def test_an_escape_in_a_name_is_refused() -> None:
    """A name with a backslash is an error that says where, rather than a file that is not found."""
    with pytest.raises(DeclarationError, match="line 2 imports"):
        imports('const a = 1;\nimport "./\\x61.js";')


NAMES = st.text(st.sampled_from("abcdefghij/._- \u00fc@1"), min_size=1, max_size=12)
NOISE = st.sampled_from(
    [
        "const a = 1 / 2;",
        "function f(a, b) { return a / b }",
        "const s = \"import './no.js'\";",
        "const t = `from \"no\" ${a / `${b}`} import('no')`;",
        "// import './no.js'",
        "/* export * from './no.js' */",
        "if (a) { /import '[/]'/.test(b) } else { c = a++ / 2 }",
        "const o = { import: 1, get from() { return './no.js' } };",
        "class A { #import = 1; static { this.x = /['\"]/ } import() { return this.#import } }",
        "label: for (const x of [/'/g, 2]) { continue label }",
        'const re = a ? /"/ : b / c;',
        "export const from = 'no';",
        "export default async () => ({ a: [/`/] });",
    ]
)
FORMS = st.sampled_from(
    ['import "{}";', 'import a from "{}";', "export * from '{}';", 'export {{ a }} from "{}";', 'await import("{}");']
)


@given(st.lists(st.one_of(NOISE.map(lambda text: (text, None)), st.tuples(FORMS, NAMES))))
def test_exactly_the_imports_of_a_program_are_found(parts: list[tuple[str, str | None]]) -> None:
    """Whatever stands around them, all imports are found, in order, and nothing else."""
    source = "\n".join(text if name is None else text.format(name) for text, name in parts)
    assert found(source) == [name for _, name in parts if name is not None]


@given(st.text(st.sampled_from("import from export\"'`${}()/*\\\n.;=a1 "), max_size=60))
def test_no_text_breaks_it(source: str) -> None:
    """Any text at all, valid or not, is read to its end: tokens come in order and cover no place twice."""
    places = [token.start for token in tokens(source)]
    assert places == sorted(set(places))
    with contextlib.suppress(DeclarationError):  # a name with a backslash
        assert all(each.line >= 1 for each in imports(source))
