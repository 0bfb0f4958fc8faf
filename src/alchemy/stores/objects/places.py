"""The stores for people: `S3StateStore` and its like, in code and by URL."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from alchemy.errors import ConfigurationError
from alchemy.stores._patience import PATIENCE
from alchemy.stores._urls import is_address, load_extra, parse, with_options
from alchemy.stores.backed import BackedStore
from alchemy.stores.objects.backend import ObjectBackend
from alchemy.stores.objects.bucket import Requests, said

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_RETRY: dict[str, Any] = {"max_retries": 1, "retry_timeout": timedelta(seconds=5)}
"""Asking again is done above, where it is known what it means."""
_CLIENT: dict[str, Any] = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=30)}


class ObjectStateStore(BackedStore):
    """State in a bucket; see the classes for each service.

    Args:
        connect: makes obstore's store.
        url: without credentials.
        service: how the service is called, for messages.
        missing, remedy: what to do when there is no such bucket, and when the service refuses.
        patience: seconds for which a place that does not answer is asked again.
    """

    _said_in_url: ClassVar[Collection[str]] = ("endpoint",)
    """The options that a URL may give, as `__init__` names them."""

    def __init__(
        self,
        connect: Callable[[], ObjectStore],
        *,
        url: str,
        prefix: str,
        service: str,
        missing: str,
        remedy: str,
        patience: float,
    ) -> None:
        def requests() -> Requests:
            load_extra("obstore", extra="s3", store=service)
            from obstore.exceptions import BaseError

            try:
                store = connect()
            except (BaseError, ValueError) as error:
                raise ConfigurationError(f"{url} cannot be used: {said(error)}", hint=remedy) from None
            return Requests(store, url=url, remedy=remedy)

        super().__init__(ObjectBackend(requests, url=url, prefix=prefix.strip("/"), missing=missing), patience=patience)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Open `scheme://bucket/prefix?option=…`. Raises `ConfigurationError` for an option that is not known."""
        place = parse(url, options=cls._said_in_url)
        make: Any = cls  # each service's own takes a bucket, and what its URL may say
        made: Self = make(place.host, prefix=place.path, **place.options)
        return made


class S3StateStore(ObjectStateStore):
    """State in an S3 bucket.

    Credentials are those of the environment: AWS_ACCESS_KEY_ID and its like, a web identity, or the machine's role.

    Args:
        bucket: exists already.
        prefix: what the names of all objects begin with.
        region: the bucket's; AWS_REGION by default.
        endpoint: of another service that speaks S3's protocol and honours `If-None-Match`.
        access_key_id, secret_access_key, session_token: instead of those of the environment.
        patience: seconds for which a place that does not answer is asked again.
    """

    _said_in_url = ("region", "endpoint")

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        region: str | None = None,
        endpoint: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        _check_bucket(bucket, "S3StateStore", "s3://my-bucket/alchemy?region=eu-central-1")
        config = _given(
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            region=region,
            endpoint=endpoint,
        )
        super().__init__(
            lambda: _s3(bucket, config),
            url=with_options(_url("s3", bucket, prefix), region=region, endpoint=endpoint),
            prefix=prefix,
            service="S3StateStore",
            patience=patience,
            missing=f"make it: aws s3 mb s3://{bucket}",
            remedy="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and that they may list, read, "
            "write and delete there",
        )


class R2StateStore(ObjectStateStore):
    """State in a Cloudflare R2 bucket, through its S3 API.

    Args:
        bucket: exists already; R2_BUCKET_NAME by default.
        prefix: what the names of all objects begin with.
        access_key_id, secret_access_key: of an R2 token; R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY by default.
        account_id: whose bucket it is; CLOUDFLARE_ACCOUNT_ID by default.
        endpoint: instead of the account's: `https://<account>.eu.r2.cloudflarestorage.com` for a jurisdiction;
            R2_ENDPOINT by default.
        patience: seconds for which a place that does not answer is asked again.
    """

    def __init__(
        self,
        bucket: str | None = None,
        *,
        prefix: str = "",
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        account_id: str | None = None,
        endpoint: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        name = bucket or os.environ.get("R2_BUCKET_NAME", "")
        if not name:
            raise ConfigurationError("R2StateStore needs a bucket", hint="set R2_BUCKET_NAME, or name it: r2://bucket")
        given = endpoint
        super().__init__(
            lambda: _s3(name, _r2_config(access_key_id, secret_access_key, account_id, given)),
            url=with_options(_url("r2", name, prefix), endpoint=endpoint),
            prefix=prefix,
            service="R2StateStore",
            patience=patience,
            missing=f"make it: npx wrangler r2 bucket create {name}",
            remedy="check R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY: a token with 'Object Read & Write' on that bucket",
        )


class R2RestStateStore(R2StateStore):
    """The name that Alchemy for TypeScript has for it; the same as `R2StateStore`."""


class GCSStateStore(ObjectStateStore):
    """State in a Google Cloud Storage bucket.

    Args:
        bucket: exists already.
        prefix: what the names of all objects begin with.
        service_account: path of a key file; by default GOOGLE_APPLICATION_CREDENTIALS, gcloud's own, or the machine's.
        endpoint: of another server that speaks its XML API; asked without credentials.
        patience: seconds for which a place that does not answer is asked again.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        service_account: str | None = None,
        endpoint: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        _check_bucket(bucket, "GCSStateStore", "gs://my-bucket/alchemy")
        super().__init__(
            lambda: _gcs(bucket, service_account, endpoint),
            url=with_options(_url("gs", bucket, prefix), endpoint=endpoint),
            prefix=prefix,
            service="GCSStateStore",
            patience=patience,
            missing=f"make it: gcloud storage buckets create gs://{bucket}",
            remedy="check GOOGLE_APPLICATION_CREDENTIALS, and that it has roles/storage.objectUser on that bucket",
        )


class AzureStateStore(ObjectStateStore):
    """State in a container of Azure Blob Storage.

    Args:
        container: exists already.
        prefix: what the names of all blobs begin with.
        account: the storage account; AZURE_STORAGE_ACCOUNT_NAME by default.
        access_key: the account's key; AZURE_STORAGE_ACCOUNT_KEY, a service principal's AZURE_CLIENT_ID and its like,
            or the machine's identity by default.
        endpoint: of another server that speaks its protocol.
        patience: seconds for which a place that does not answer is asked again.
    """

    _said_in_url = ("account", "endpoint")

    def __init__(
        self,
        container: str,
        *,
        prefix: str = "",
        account: str | None = None,
        access_key: str | None = None,
        endpoint: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        _check_bucket(container, "AzureStateStore", "az://my-container/alchemy?account=myaccount")
        config = _given(account_name=account, account_key=access_key, endpoint=endpoint)
        super().__init__(
            lambda: _azure(container, config),
            url=with_options(_url("az", container, prefix), account=account, endpoint=endpoint),
            prefix=prefix,
            service="AzureStateStore",
            patience=patience,
            missing=f"make it: az storage container create --name {container}",
            remedy="check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or that the identity has the role "
            "'Storage Blob Data Contributor' on that container",
        )


def _url(scheme: str, bucket: str, prefix: str) -> str:
    return f"{scheme}://{bucket}" + (f"/{prefix.strip('/')}" if prefix.strip("/") else "")


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _check_bucket(bucket: str, store: str, example: str) -> None:
    if not bucket:
        raise ConfigurationError(f"{store} needs a bucket", hint=f"such as {example}")


def _client(endpoint: str | None) -> Any:
    if endpoint and not is_address(endpoint):
        raise ConfigurationError(
            f"{endpoint.rpartition('@')[2]!r} is no endpoint of an object storage",
            hint="such as https://storage.example.com:9000",
        )
    return {**_CLIENT, "allow_http": (endpoint or "").startswith("http://")}


def _s3(bucket: str, config: Mapping[str, str]) -> ObjectStore:
    from obstore.store import S3Store

    client = _client(config.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL"))
    return S3Store(bucket, config=dict(config), client_options=client, retry_config=_RETRY)  # type: ignore[arg-type]


def _r2_config(key: str | None, secret: str | None, account: str | None, endpoint: str | None) -> dict[str, str]:
    wanted = {
        "R2_ACCESS_KEY_ID": key or os.environ.get("R2_ACCESS_KEY_ID"),
        "R2_SECRET_ACCESS_KEY": secret or os.environ.get("R2_SECRET_ACCESS_KEY"),
    }
    place = endpoint or os.environ.get("R2_ENDPOINT")
    if not place:
        account = account or os.environ.get("CLOUDFLARE_ACCOUNT_ID")
        wanted["CLOUDFLARE_ACCOUNT_ID"] = account
        place = f"https://{account}.r2.cloudflarestorage.com"
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        raise ConfigurationError(
            f"R2StateStore needs {', '.join(missing)}",
            hint="make an R2 API token with 'Object Read & Write' on the bucket, and set what it shows",
        )
    return {
        "access_key_id": wanted["R2_ACCESS_KEY_ID"] or "",
        "secret_access_key": wanted["R2_SECRET_ACCESS_KEY"] or "",
        "endpoint": place,
        "region": "auto",
    }


def _gcs(bucket: str, service_account: str | None, endpoint: str | None) -> ObjectStore:
    from obstore.store import GCSStore

    config: dict[str, Any] = _given(service_account=service_account, base_url=endpoint)
    if endpoint:
        config["bearer_token"] = "none"  # `skip_signature` asks for a token all the same when something is written
    return GCSStore(bucket, config=config, client_options=_client(endpoint), retry_config=_RETRY)  # type: ignore[arg-type]


def _azure(container: str, config: Mapping[str, str]) -> ObjectStore:
    from obstore.store import AzureStore

    client = _client(config.get("endpoint"))
    return AzureStore(container, config=dict(config), client_options=client, retry_config=_RETRY)  # type: ignore[arg-type]
