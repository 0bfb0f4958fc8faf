"""What is said when a service, or what it needs, is not as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.exceptions import GenericError, InvalidPathError
from obstore.store import LocalStore, MemoryStore

from alchemy.errors import ConfigurationError
from alchemy.stores import R2StateStore, open_store
from alchemy.stores.backend import Unreachable
from alchemy.stores.objects.bucket import Requests, said

pytestmark = pytest.mark.anyio


def test_what_is_said_holds_no_signature() -> None:
    """A shared access signature stands in the query of the URL that a message shows; only one short line is left."""
    text = "Error performing PUT https://a.example/state/key?sv=1&sig=hush%3D in 3 ms\n<Error/>\n\nDebug source:\nhush"
    assert said(GenericError(text)) == "Error performing PUT https://a.example/state/key in 3 ms <Error/>"
    assert len(said(GenericError("x" * 1000))) < 400


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (GenericError("?"), Unreachable),
        (InvalidPathError("?"), Unreachable),
        (FileNotFoundError("?"), ConfigurationError),
    ],
)
async def test_no_error_of_obstores_gets_out(error: Exception, wanted: type[Exception]) -> None:
    """Each becomes one of alchemy's, which names the place and what to do."""
    bucket = Requests(MemoryStore(), url="s3://state", remedy="check the key")
    with pytest.raises(wanted, match="s3://state") as failed:
        async with bucket._finding(), bucket._asking():
            raise error
    assert getattr(failed.value, "hint", None)


async def test_what_is_not_there_keeps_nothing_else_from_being_deleted(tmp_path: Path) -> None:
    """Services differ in what they say to that; obstore stops at the first that is missing."""
    bucket = Requests(LocalStore(tmp_path), url="file:", remedy="")
    for name in ("a", "c", "e"):
        await bucket.put(f"x/{name}", b"1")
    await bucket.delete([f"x/{name}" for name in ("b", "a", "d", "c", "f", "e")])
    assert list(await bucket.list("x")) == []
    await bucket.delete(["x/a"])


async def test_r2_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket at once; credentials and account when it is opened."""
    for name in ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_BUCKET_NAME", "R2_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="needs a bucket"):
        R2StateStore()
    store = open_store("r2://state/team")
    with pytest.raises(ConfigurationError, match="R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY, CLOUDFLARE_ACCOUNT_ID"):
        await store.init()
    await store.deinit()


@pytest.mark.parametrize("url", ["s3://", "gs:///prefix", "az://?account=x", "s3://b?regoin=x"])
def test_urls_that_name_no_place(url: str) -> None:
    """They are refused with an example, or with what was probably meant."""
    with pytest.raises(ConfigurationError) as refused:
        open_store(url)
    assert refused.value.hint


@pytest.mark.parametrize("endpoint", ["host:9000", "ftp://host", "http://", "http://host:port", "http://host:99999"])
@pytest.mark.parametrize("place", ["s3://b", "r2://b", "gs://b", "az://b"])
async def test_an_endpoint_that_is_no_address(monkeypatch: pytest.MonkeyPatch, place: str, endpoint: str) -> None:
    """It is refused before obstore has it, which panics at some of them."""
    for name in ("R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "CLOUDFLARE_ACCOUNT_ID", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.setenv(name, "0" * 32)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    store = open_store(f"{place}?endpoint={endpoint}")
    with pytest.raises(ConfigurationError, match=f"'{endpoint}' is no endpoint") as refused:
        await store.init()
    assert "https://" in (refused.value.hint or "")
    await store.deinit()
