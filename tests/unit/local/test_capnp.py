"""Values in the text form of Cap'n Proto."""

from __future__ import annotations

import pytest

from alchemy.local.runtime.capnp import VOID, Embed, Value, document, render


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "true"),
        (False, "false"),
        (VOID, "void"),
        ("plain", '"plain"'),
        ('a "b" \\ c', '"a \\"b\\" \\\\ c"'),
        ("tab\tnewline\nnul\x00del\x7f", '"tab\\x09newline\\x0anul\\x00del\\x7f"'),
        ("ключ 🔑", '"ключ 🔑"'),
        (Embed("modules/a"), 'embed "modules/a"'),
        ({}, "()"),
        ({"a": "1", "b": {"c": []}}, '(a = "1", b = (c = []))'),
        (["x", True], '["x",\n true]'),
    ],
)
def test_a_value_is_written(value: Value, written: str) -> None:
    """Structs, lists, text, booleans, void and embedded files each have their form."""
    assert render(value) == written


def test_a_document_names_the_constant() -> None:
    """The file imports the schema and defines `config`."""
    assert document({"services": []}) == (
        'using Workerd = import "/workerd/workerd.capnp";\nconst config :Workerd.Config = (services = []);\n'
    )
