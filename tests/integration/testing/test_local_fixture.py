"""The fixture that gives a fresh local Cloudflare, together with a test scope."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from alchemy.cloudflare import KVNamespace

if TYPE_CHECKING:
    from alchemy.local import LocalCloudflare

pytestmark = [pytest.mark.anyio, pytest.mark.workerd]


@pytest.fixture(autouse=True)
def _own_state(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALCHEMY_STATE_DIR", f"{tmp_path}/state")


async def test_a_namespace_lives_as_long_as_the_test(alchemy_scope: object, local_cloudflare: LocalCloudflare) -> None:
    """A resource declared in the test goes to the fresh local Cloudflare, which outlives the scope."""
    namespace = await KVNamespace("cache")
    assert namespace.namespace_id
    assert os.environ["CLOUDFLARE_ACCOUNT_ID"] == local_cloudflare.account_id
