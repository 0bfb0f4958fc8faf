"""R2: buckets and objects. Source: https://developers.cloudflare.com/api/resources/r2/"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from alchemy.local import _storage
from alchemy.local._metadata import Resource
from alchemy.local.control.bound import rewire
from alchemy.local.control.context import Call, new_id, now
from alchemy.local.control.envelope import ApiError, success
from alchemy.local.control.paging import number
from alchemy.local.control.shapes import object_or_none, strings_or_none
from alchemy.local.control.simulators import ask

if TYPE_CHECKING:
    import httpx

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_PROTOCOL = 1
_LARGEST_UPLOAD = 300 * 1024 * 1024
_HTTP_FIELDS = {
    "contentType": "content-type",
    "contentLanguage": "content-language",
    "contentDisposition": "content-disposition",
    "contentEncoding": "content-encoding",
    "cacheControl": "cache-control",
}


async def create(call: Call) -> Response:
    """Create a bucket. 10004 when the account has one of that name."""
    body = await call.mapping()
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ApiError(400, 10005, f"The specified bucket name is not valid: {name!r}")
    document = {
        "location": str(body.get("locationHint") or "enam").upper(),
        "storage_class": body.get("storageClass") or "Standard",
        "jurisdiction": call.request.headers.get("cf-r2-jurisdiction", "default"),
    }
    bucket = Resource("r2", new_id(), name, now(), document)
    if not await call.metadata.add(bucket):
        message = "The bucket you tried to create already exists, and you own it."
        raise ApiError(409, 10004, message)
    return success(_show(bucket))


async def list_(call: Call) -> Response:
    """List buckets by name."""
    size = number(call, "per_page", 20, most=1000)
    part = call.query("name_contains") or ""
    after = call.query("cursor") or call.query("start_after") or ""
    descending = call.query("direction") == "desc"
    found = sorted(
        (bucket for bucket in await call.metadata.resources("r2") if part in bucket.name),
        key=lambda bucket: bucket.name,
        reverse=descending,
    )
    if after:
        found = [bucket for bucket in found if (bucket.name < after if descending else bucket.name > after)]
    info: dict[str, Any] = {"per_page": size}
    if len(found) > size:
        info["cursor"] = found[size - 1].name
    return success({"buckets": [_show(bucket) for bucket in found[:size]]}, result_info=info)


async def get(call: Call) -> Response:
    """Return a bucket."""
    return success(_show(await _bucket(call)))


async def delete(call: Call) -> Response:
    """Delete a bucket. 10008 when there are objects in it."""
    bucket = await _bucket(call)
    listed = await _read(call, bucket, {"method": "list", "limit": 1})
    if listed.json()["objects"]:
        raise ApiError(409, 10008, "The bucket you tried to delete is not empty.")
    await call.metadata.remove("r2", bucket.id)
    await rewire(call.context, "r2", bucket.name)
    await asyncio.to_thread(_storage.delete, call.context.plane.data.storage, "r2", bucket.id)
    return success({})


async def list_objects(call: Call) -> Response:
    """List objects with their metadata."""
    bucket = await _bucket(call)
    # With metadata the simulator gives at most 100 at a time, whatever was asked for, and a cursor to go on.
    asked: dict[str, Any] = {"method": "list", "limit": number(call, "per_page", 20, most=1000), "include": [0, 1]}
    for name, field in (("prefix", "prefix"), ("cursor", "cursor"), ("delimiter", "delimiter")):
        if value := call.query(name):
            asked[field] = value
    if value := call.query("start_after"):
        asked["startAfter"] = value
    listed = (await _read(call, bucket, asked)).json()
    info: dict[str, Any] = {
        "per_page": asked["limit"],
        "is_truncated": listed["truncated"],
        "delimited": listed["delimitedPrefixes"],
        "cursor": listed.get("cursor", ""),
    }
    return success([_show_object(item) for item in listed["objects"]], result_info=info)


async def get_object(call: Call) -> Response:
    """Return an object's bytes, not in the envelope."""
    bucket = await _bucket(call)
    answer = await _read(call, bucket, {"method": "get", "object": call.path("key")})
    size = int(answer.headers["cf-r2-metadata-size"])
    described: Mapping[str, Any] = json.loads(answer.content[:size])
    fields = object_or_none(described.get("httpFields")) or {}
    headers = {header: str(fields[name]) for name, header in _HTTP_FIELDS.items() if fields.get(name)}
    headers.setdefault("content-type", "application/octet-stream")
    headers["etag"] = f'"{described["etag"]}"'
    headers["last-modified"] = _moment(described["uploaded"]).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return Response(answer.content[size:], headers=headers)


async def put_object(call: Call) -> Response:
    """Store the request's body under a key."""
    bucket = await _bucket(call)
    key = call.path("key")
    headers = call.request.headers
    length = headers.get("content-length")
    body = await call.request.body() if length is None else None
    size = len(body) if body is not None else int(length or 0)
    if size > _LARGEST_UPLOAD:
        raise ApiError(413, 100100, f"The object is larger than {_LARGEST_UPLOAD} bytes.")
    fields = {name: headers[header] for name, header in _HTTP_FIELDS.items() if header in headers}
    asked = {"version": _PROTOCOL, "method": "put", "object": key, "httpFields": fields}
    prefix = json.dumps(asked).encode()

    async def content() -> AsyncIterator[bytes]:
        yield prefix
        if body is not None:
            yield body
            return
        async for block in call.request.stream():
            yield block

    answer = await ask(
        call.context,
        "PUT",
        "r2",
        bucket.id,
        "/",
        headers={"cf-r2-metadata-size": str(len(prefix)), "content-length": str(len(prefix) + size)},
        content=content(),
    )
    stored: Mapping[str, Any] = _checked(answer).json()
    return success(
        {
            "key": key,
            "size": str(stored["size"]),
            "etag": stored["etag"],
            "version": stored["version"],
            "storage_class": "Standard",
            "uploaded": _moment(stored["uploaded"]).isoformat(),
        }
    )


async def delete_object(call: Call) -> Response:
    """Delete an object. 10007 when there is none."""
    bucket = await _bucket(call)
    key = call.path("key")
    await _read(call, bucket, {"method": "head", "object": key})
    await _delete(call, bucket, [key])
    return success({"key": key})


async def delete_objects(call: Call) -> Response:
    """Delete the objects whose keys are in the body, an array; those that are not there count as deleted."""
    bucket = await _bucket(call)
    keys = strings_or_none(await call.json())
    if keys is None:
        raise ApiError(400, 10029, "the body must be an array of keys")
    if keys:
        await _delete(call, bucket, keys)
    return success([{"key": key} for key in keys])


async def _delete(call: Call, bucket: Resource, keys: list[str]) -> None:
    prefix = json.dumps({"version": _PROTOCOL, "method": "delete", "objects": keys}).encode()
    headers = {"cf-r2-metadata-size": str(len(prefix))}
    _checked(await ask(call.context, "PUT", "r2", bucket.id, "/", headers=headers, content=prefix))


async def _read(call: Call, bucket: Resource, asked: Mapping[str, Any]) -> httpx.Response:
    headers = {"cf-r2-request": json.dumps({"version": _PROTOCOL, **asked})}
    return _checked(await ask(call.context, "GET", "r2", bucket.id, "/", headers=headers))


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    problem: Mapping[str, Any] = json.loads(answer.headers.get("cf-r2-error", "{}"))
    code = int(problem.get("v4code", 10001))
    message = "The specified key does not exist." if code == 10007 else str(problem.get("message") or answer.text)
    raise ApiError(answer.status_code, code, message)


async def _bucket(call: Call) -> Resource:
    if bucket := await call.metadata.resource("r2", name=call.path("bucket")):
        return bucket
    raise ApiError(404, 10006, "The specified bucket does not exist.")


def _show(bucket: Resource) -> dict[str, Any]:
    return {"name": bucket.name, "creation_date": bucket.created_on, **bucket.document}


def _show_object(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": item["name"],
        "size": item["size"],
        "etag": item["etag"],
        "last_modified": _moment(item["uploaded"]).isoformat(),
        "http_metadata": dict(item.get("httpFields") or {}),
        "custom_metadata": {pair["k"]: pair["v"] for pair in item.get("customFields") or ()},
        "storage_class": "Standard",
        "ssec": False,
    }


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
