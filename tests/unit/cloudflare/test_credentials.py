"""Whose account: the environment, read when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from alchemy.clients.cloudflare import configured_target, credentials, is_cloudflares_own, target_of
from alchemy.cloudflare.provider import CloudflareProvider
from alchemy.errors import ConfigurationError

ACCOUNT = "0123456789abcdef0123456789abcdef"


def test_a_missing_token_is_said_with_where_to_make_one() -> None:
    """The error names the variable, the page, and the way without an account."""
    with pytest.raises(ConfigurationError, match="CLOUDFLARE_API_TOKEN is not set") as caught:
        credentials()
    assert "https://dash.cloudflare.com/profile/api-tokens" in (caught.value.hint or "")
    assert "--local" in (caught.value.hint or "")


def test_a_blank_token_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable, as CI has it for a secret that is not there, is not sent to Cloudflare."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", " ")
    with pytest.raises(ConfigurationError):
        credentials()


def test_credentials_do_not_show_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is a secret from the moment it is read."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "t0ken")
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
    found = credentials()
    assert "t0ken" not in repr(found)
    assert (found.token.reveal(), found.account_id, found.base_url) == ("t0ken", ACCOUNT, None)


def test_the_target_is_known_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an account it is named without a call, a token or the SDK; without one it is not known."""
    assert configured_target() == "cloudflare:"
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", ACCOUNT)
    assert CloudflareProvider.configured_target() == f"cloudflare:{ACCOUNT}"
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", "http://127.0.0.1:8787/client/v4")
    assert CloudflareProvider.configured_target() == f"cloudflare-local:{ACCOUNT}"


@pytest.mark.parametrize(
    ("url", "own"),
    [
        (None, True),
        ("https://api.cloudflare.com/client/v4", True),
        ("https://api.fed.cloudflare.com/client/v4", True),
        ("https://cloudflare.com", True),
        ("http://127.0.0.1:8787/client/v4", False),
        ("https://api.cloudflare.com.example.org", False),
        ("https://notcloudflare.com", False),
    ],
)
def test_only_cloudflares_own_hosts_are_cloudflare(url: str | None, own: bool) -> None:
    """A record made against another API never matches an account of Cloudflare's."""
    assert is_cloudflares_own(url) is own
    assert target_of("a", url) == ("cloudflare:a" if own else "cloudflare-local:a")


def test_importing_the_resources_loads_no_sdk() -> None:
    """A program that declares Cloudflare resources imports neither the SDK nor an HTTP client until a call is made."""
    code = (
        "import sys, alchemy.cloudflare, alchemy.cloudflare.worker, alchemy.clients.cloudflare; "
        "print([name for name in ('cloudflare', 'httpx', 'pydantic', 'sqlite3') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
