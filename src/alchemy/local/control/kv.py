"""KV: namespaces and what they hold. Source: https://developers.cloudflare.com/api/resources/kv/"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.datastructures import UploadFile
from starlette.responses import Response

from alchemy.local import _storage
from alchemy.local._metadata import Resource
from alchemy.local.control.bound import rewire
from alchemy.local.control.context import Call, new_id, now
from alchemy.local.control.envelope import ApiError, success
from alchemy.local.control.paging import number, paged
from alchemy.local.control.shapes import array_or_none, object_or_none, strings_or_none
from alchemy.local.control.simulators import ask

if TYPE_CHECKING:
    import httpx

_LONGEST_TITLE = 512
_LONGEST_KEY = 512
_LARGEST_VALUE = 25 * 1024 * 1024
_BULK_KEYS, _BULK_READ = 10_000, 100


async def create(call: Call) -> Response:
    """Create a namespace. 10014 when the account has one of that title."""
    namespace = Resource("kv", new_id(), await _title(call), now(), {})
    if not await call.metadata.add(namespace):
        raise _title_taken("create")
    return success(_show(namespace))


async def list_(call: Call) -> Response:
    """List the namespaces, by title or id when asked to."""
    namespaces = await call.metadata.resources("kv")
    order = call.query("order")
    if order == "title":
        namespaces.sort(key=lambda namespace: namespace.name)
    elif order == "id":
        namespaces.sort(key=lambda namespace: namespace.id)
    if call.query("direction") == "desc":
        namespaces.reverse()
    return paged(call, namespaces, _show, per_page=20, most=1000)


async def get(call: Call) -> Response:
    """Return a namespace."""
    return success(_show(await _namespace(call)))


async def rename(call: Call) -> Response:
    """Give a namespace another title."""
    namespace = await _namespace(call)
    title = await _title(call)
    if not await call.metadata.rename("kv", namespace.id, title):
        raise _title_taken("rename")
    return success({"id": namespace.id, "title": title, "supports_url_encoding": True})


async def delete(call: Call) -> Response:
    """Delete a namespace and what it holds."""
    namespace = await _namespace(call)
    await call.metadata.remove("kv", namespace.id)
    await rewire(call.context, "kv", namespace.id)
    await asyncio.to_thread(_storage.delete, call.context.plane.data.storage, "kv", namespace.id)
    return success(None)


async def list_keys(call: Call) -> Response:
    """List keys with their expiry and metadata."""
    namespace = await _namespace(call)
    limit = number(call, "limit", 1000, least=10, most=1000)
    params = {"key_count_limit": str(limit)}
    for name in ("prefix", "cursor"):
        if value := call.query(name):
            params[name] = value
    listed = _checked(await ask(call.context, "GET", "kv", namespace.id, "/", params=params)).json()
    keys = [_show_key(key) for key in listed["keys"]]
    return success(keys, result_info={"count": len(keys), "cursor": listed.get("cursor", "")})


async def get_value(call: Call) -> Response:
    """Return a value, as it was stored, not in the envelope."""
    answer = await _read(call, await _namespace(call), _key(call), "get")
    headers = {"expiration": answer.headers["cf-expiration"]} if "cf-expiration" in answer.headers else {}
    return Response(answer.content, headers=headers, media_type="application/octet-stream")


async def get_metadata(call: Call) -> Response:
    """Return a key's metadata, null when it has none."""
    answer = await _read(call, await _namespace(call), _key(call), "get")
    return success(json.loads(answer.headers.get("cf-kv-metadata", "null")))


async def put_value(call: Call) -> Response:
    """Store a value: the raw body, or a form with `value` and `metadata`."""
    namespace = await _namespace(call)
    metadata: str | None = None
    if call.request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with call.request.form(max_part_size=_LARGEST_VALUE) as form:
            part = form.get("value")
            if part is None:
                raise ApiError(400, 10012, "put: the form has no 'value'")
            value = await part.read() if isinstance(part, UploadFile) else part.encode()
            said = form.get("metadata")
            metadata = (await said.read()).decode() if isinstance(said, UploadFile) else said
    else:
        value = await call.request.body()
    expiry = _expiry(call.request.query_params)
    await _write(call, namespace, _key(call), value, metadata=metadata, expiry=expiry)
    return success(None)


async def delete_value(call: Call) -> Response:
    """Delete a key; that there is none is success."""
    namespace = await _namespace(call)
    await _delete(call, namespace, _key(call))
    return success(None)


async def bulk_put(call: Call) -> Response:
    """Store up to 10,000 values."""
    namespace = await _namespace(call)
    entries = array_or_none(await call.json())
    if entries is None or len(entries) > _BULK_KEYS:
        raise ApiError(400, 10012, f"bulk put: the body must be an array of at most {_BULK_KEYS} entries")
    for each in entries:
        entry = object_or_none(each) or {}
        metadata = json.dumps(entry["metadata"]) if entry.get("metadata") is not None else None
        value = _bulk_value(entry)
        key = _checked_key(str(entry.get("key", "")))
        await _write(call, namespace, key, value, metadata=metadata, expiry=_expiry(entry))
    return success({"successful_key_count": len(entries), "unsuccessful_keys": []})


async def bulk_delete(call: Call) -> Response:
    """Delete up to 10,000 keys."""
    namespace = await _namespace(call)
    keys = _keys(await call.json(), _BULK_KEYS)
    for key in keys:
        await _delete(call, namespace, _checked_key(key))
    return success({"successful_key_count": len(keys), "unsuccessful_keys": []})


async def bulk_get(call: Call) -> Response:
    """Return up to 100 values, null for what is not there."""
    namespace = await _namespace(call)
    body = await call.mapping()
    values: dict[str, Any] = {}
    for key in _keys(body.get("keys"), _BULK_READ):
        values[key] = await _bulk_read(call, namespace, key, body)
    return success({"values": values})


async def _bulk_read(call: Call, namespace: Resource, key: str, body: Mapping[str, Any]) -> Any:
    answer = await ask(call.context, "GET", "kv", namespace.id, _path(_checked_key(key)), params=_ENCODED)
    if answer.status_code == 404:
        return None
    text = _checked(answer).content.decode("utf-8", "replace")
    value = json.loads(text) if body.get("type") == "json" else text
    if not body.get("withMetadata"):
        return value
    found: dict[str, Any] = {"value": value, "metadata": json.loads(answer.headers.get("cf-kv-metadata", "null"))}
    if expiration := answer.headers.get("cf-expiration"):
        found["expiration"] = int(expiration)
    return found


_ENCODED = {"urlencoded": "true"}


def _path(key: str) -> str:
    return "/" + quote(key, safe="")


async def _read(call: Call, namespace: Resource, key: str, action: str) -> httpx.Response:
    answer = await ask(call.context, "GET", "kv", namespace.id, _path(key), params=_ENCODED)
    if answer.status_code == 404:
        raise ApiError(404, 10009, f"{action}: 'key not found'")
    return _checked(answer)


async def _write(
    call: Call, namespace: Resource, key: str, value: bytes, *, metadata: str | None, expiry: Mapping[str, str]
) -> None:
    if len(value) > _LARGEST_VALUE:
        raise ApiError(413, 10097, f"put: value length of {len(value)} exceeds limit of {_LARGEST_VALUE}")
    headers: dict[str, str] = {}
    if metadata is not None:
        try:
            headers["cf-kv-metadata"] = json.dumps(json.loads(metadata))  # in ASCII, as a header must be
        except ValueError:
            raise ApiError(400, 10012, "put: the metadata is not valid JSON") from None
    params = {**_ENCODED, **expiry}
    _checked(
        await ask(call.context, "PUT", "kv", namespace.id, _path(key), params=params, headers=headers, content=value)
    )


async def _delete(call: Call, namespace: Resource, key: str) -> None:
    _checked(await ask(call.context, "DELETE", "kv", namespace.id, _path(key), params=_ENCODED))


def _expiry(source: Mapping[str, Any]) -> dict[str, str]:
    given = {name: source[name] for name in ("expiration", "expiration_ttl") if source.get(name) is not None}
    try:
        return {name: str(int(float(value))) for name, value in given.items()}
    except (TypeError, ValueError, OverflowError):
        raise ApiError(400, 10033, f"put: an expiration must be a number of seconds, not {given!r}") from None


def _bulk_value(entry: Mapping[str, Any]) -> bytes:
    value = entry.get("value")
    if not isinstance(value, str):
        raise ApiError(400, 10012, "bulk put: every entry needs a 'value', a string")
    if not entry.get("base64"):
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise ApiError(400, 10012, f"bulk put: the value of {entry.get('key')!r} is not base64") from None


def _keys(given: object, most: int) -> Sequence[str]:
    keys = strings_or_none(given)
    if keys is None or len(keys) > most:
        raise ApiError(400, 10012, f"the keys must be an array of at most {most} strings")
    return keys


def _key(call: Call) -> str:
    return _checked_key(call.path("key"))


def _checked_key(key: str) -> str:
    length = len(key.encode())
    if not key or key in (".", "..") or length > _LONGEST_KEY:
        raise ApiError(400, 10030, f"illegal key name: 1 to {_LONGEST_KEY} bytes, not '.' or '..' (it has {length})")
    return key


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    raise ApiError(answer.status_code if answer.status_code < 500 else 500, 10001, answer.text or answer.reason_phrase)


async def _title(call: Call) -> str:
    title = (await call.mapping()).get("title")
    if not isinstance(title, str) or not 0 < len(title) <= _LONGEST_TITLE:
        raise ApiError(400, 10019, f"a namespace's title must have 1 to {_LONGEST_TITLE} characters")
    return title


def _title_taken(action: str) -> ApiError:
    message = f"{action} namespace: 'a namespace with this account ID and title already exists'"
    return ApiError(400, 10014, message)


async def _namespace(call: Call) -> Resource:
    if namespace := await call.metadata.resource("kv", id=call.path("namespace")):
        return namespace
    raise ApiError(404, 10013, "get namespace: 'namespace not found'")


def _show(namespace: Resource) -> dict[str, Any]:
    return {"id": namespace.id, "title": namespace.name, "supports_url_encoding": True}


def _show_key(key: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": key["name"]}
    if key.get("expiration") is not None:
        shown["expiration"] = key["expiration"]
    if key.get("metadata") is not None:
        shown["metadata"] = json.loads(key["metadata"])
    return shown
