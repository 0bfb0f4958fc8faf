"""Parts of commands that need no process."""

from __future__ import annotations

import pytest

from alchemy.cli import local_cloudflare
from alchemy.cli.commands.init import app_name
from alchemy.cli.commands.state import mask
from alchemy.errors import ConfigurationError
from alchemy.names import check_app


def test_nothing_of_a_secret_is_shown() -> None:
    """Everything under `@secret` is masked, at any depth, also when it has company."""
    data = {
        "props": {
            "a": {"@secret": {"v": 2, "c": "sealed"}},
            "b": [{"@secret": "x"}],
            "c": {"@@secret": "a user's key"},
        },
        "odd": {"@secret": "sealed", "beside": "it"},
        "count": 3,
    }
    assert mask(data) == {
        "props": {"a": "***", "b": ["***"], "c": {"@@secret": "a user's key"}},
        "odd": "***",
        "count": 3,
    }


@pytest.mark.parametrize(
    ("folder", "app"),
    [
        ("My Shop", "my-shop"),
        ("notes", "notes"),
        ("", "hello"),
        ("…", "hello"),
        ("local", "local-app"),
        ("a" * 99, "a" * 40),
    ],
)
def test_a_folders_name_becomes_an_applications(folder: str, app: str) -> None:
    """Whatever the folder is called, the application can be called so."""
    assert app_name(folder) == app
    check_app(app)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the packages of `alchemy-iac[local]` the error says what to install."""
    local_cloudflare.check_installed()
    monkeypatch.setattr(local_cloudflare, "_NEEDED", ("starlette", "surely_not_installed"))
    with pytest.raises(ConfigurationError, match="surely_not_installed") as raised:
        local_cloudflare.check_installed()
    assert raised.value.hint == "pip install 'alchemy-iac[local]'"
