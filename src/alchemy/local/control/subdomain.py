"""Where a Worker is reachable.

On Cloudflare the address is `https://NAME.SUBDOMAIN.workers.dev`, and SUBDOMAIN comes from
`GET /accounts/A/workers/subdomain`. Here every Worker has a port of its own instead, and the answers to `GET` and
`POST /accounts/A/workers/scripts/NAME/subdomain` carry one field more, which Cloudflare never sends:

```json
{"enabled": true, "previews_enabled": false, "local_url": "http://127.0.0.1:40123"}
```

So code that takes `local_url` when it is there and else builds the workers.dev address works on both. The field is
null while `enabled` is false. A Worker that nobody has enabled or disabled yet answers on its port all the same, so
that enabling it needs no reload; once it is disabled the port answers 404.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from alchemy.local.control.context import Call
from alchemy.local.control.envelope import ApiError, success
from alchemy.local.control.scripts import apply, existing, only
from alchemy.local.runtime.worker import Worker

SETTING = "subdomain"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


async def get_account(call: Call) -> Response:
    """Return the account's subdomain."""
    name = (await call.metadata.settings()).get(SETTING)
    if not name:
        raise ApiError(404, 10007, "There is no workers.dev subdomain associated with your account.")
    return success({"subdomain": name})


async def put_account(call: Call) -> Response:
    """Name the account's subdomain."""
    name = (await call.mapping()).get("subdomain")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ApiError(400, 10031, f"The subdomain {name!r} cannot be used.")
    await call.metadata.put_settings({SETTING: name})
    return success({"subdomain": name})


async def delete_account(call: Call) -> Response:
    """Give the account's subdomain up."""
    await call.metadata.put_settings({SETTING: ""})
    return success(None)


async def get(call: Call) -> Response:
    """Say whether a Worker is reachable, and where."""
    return success(_show(existing(call)))


async def post(call: Call) -> Response:
    """Make a Worker reachable, or not."""
    name = existing(call).name
    body = await call.mapping()
    if not isinstance(body.get("enabled"), bool):
        raise ApiError(400, 10021, "The body must have 'enabled', true or false.")

    def build(current: Worker | None) -> Worker:
        worker = current or existing(call)
        previews = bool(body.get("previews_enabled", worker.previews_enabled))
        return replace(worker, enabled=body["enabled"], previews_enabled=previews)

    return success(_show((await apply(call.context, name, only(name, build))).workers[name]))


async def delete(call: Call) -> Response:
    """Make a Worker unreachable."""
    name = existing(call).name

    def build(current: Worker | None) -> Worker:
        return replace(current or existing(call), enabled=False, previews_enabled=False)

    return success(_show((await apply(call.context, name, only(name, build))).workers[name]))


def _show(worker: Worker) -> dict[str, Any]:
    return {
        "enabled": bool(worker.enabled),
        "previews_enabled": worker.previews_enabled,
        "local_url": url(worker) if worker.enabled else None,
    }


def url(worker: Worker) -> str:
    """Return a Worker's own address."""
    return f"http://127.0.0.1:{worker.port}"
