"""What Cloudflare's API refuses, as this package's errors. Importing it loads no SDK.

Codes come with several meanings: 10013 is a missing namespace for KV and an internal failure for Workers. So the table
is by service. Sources: wrangler, the API's reference, and reports of what the live API answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from alchemy.errors import AlchemyError, AlreadyExists, ConfigurationError, Gone, ProviderError

if TYPE_CHECKING:
    from cloudflare import APIError
    from httpx import Headers

TOKEN_PAGE = "https://dash.cloudflare.com/profile/api-tokens"

Service = Literal["accounts", "workers", "subdomain", "d1", "kv", "r2"]
Kind = Literal["create", "object", "list"]

PERMISSIONS: Mapping[Service, str] = {
    "accounts": "Account Settings: Read",
    "workers": "Workers Scripts: Edit",
    "subdomain": "Workers Scripts: Read",
    "d1": "D1: Edit",
    "kv": "Workers KV Storage: Edit",
    "r2": "Workers R2 Storage: Edit",
}
"""What a token must be allowed to do, in the dashboard's words."""

_EXISTS = frozenset({("d1", 7502), ("kv", 10014), ("r2", 10004)})
_AUTHENTICATION = frozenset({6003, 6111, 9106, 9109, 10000})
_NO_OBJECT_ROUTE, _NO_SUCH_ENDPOINT = 7003, frozenset({7000, 7001})
_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "LocalProtocolError"})

NO_SUBDOMAIN = (
    "open Workers & Pages in the dashboard once to choose one; a Worker that needs no address has workers_dev=False"
)
_HINTS: Mapping[tuple[str, int], str] = {
    ("workers", 10021): "the script does not start: correct what the message says; nothing was changed at Cloudflare",
    ("workers", 10027): "the script is too large: see the limits of your plan, or leave out what it does not use",
    ("workers", 10052): "every binding needs a name",
    ("workers", 10061): "export the class from the Worker that has it, and bind that Worker to it",
    (
        "workers",
        10064,
    ): "something uses it still: another Worker, which has to be changed or deleted first, or objects of "
    "a class that the script does not export any more",
    ("workers", 10063): NO_SUBDOMAIN,
    ("subdomain", 10007): NO_SUBDOMAIN,
    ("d1", 7406): "delete databases that are not needed, or ask Cloudflare for more",
    ("d1", 7500): "correct the SQL",
    ("r2", 10005): "a bucket's name has 3 to 63 of a-z, 0-9 and '-', and begins and ends with a letter or digit",
    ("r2", 10008): "declare it with empty_on_delete=True and deploy that first, or empty it yourself",
    ("r2", 10042): "switch R2 on in the dashboard, under R2 Object Storage",
    ("kv", 10019): "a title has 1 to 512 characters",
}


_UNDECLARED = "the Worker has a class that is not declared: bind it to a DurableObjectNamespace"
_CLASS_HINTS: Mapping[str, str] = {
    "config_export_not_in_code": "export the class from the entrypoint",
    "config_references_nonexistent_class": "export the class from the entrypoint",
    "orphaned_provisioned_namespace": _UNDECLARED,
    "provisioned_class_missing_from_config": _UNDECLARED,
    "storage_type_mismatch": "the class has key-value storage, and only one with SQLite storage can be declared",
    "tombstone_delete_class_still_in_code": "take the class out of the script as well",
    "tombstone_delete_blocked_by_external_bindings": "first deploy the other Workers without it, or take them away",
}
"""By what Cloudflare calls the case, for Durable Object classes that cannot be made what they shall be."""
_MAY_PASS = "tombstone_delete_blocked_by_external_bindings"
"""The Worker that is in the way may be in the same deploy. What else is told with it does not pass by waiting."""


def hint_for(service: str, code: int | None) -> str | None:
    """Give the next thing to do about a code, if there is more to say than Cloudflare did."""
    return _HINTS.get((service, code)) if code is not None else None


class Problem(NamedTuple):
    """One entry of an answer's `errors`."""

    code: int | None
    message: str
    cases: tuple[str, ...] = ()


def problems(body: object) -> list[Problem]:
    """Read the `errors` of an answer's envelope; empty when the answer is not Cloudflare's envelope."""
    if not isinstance(body, Mapping):
        return []
    listed = cast("Mapping[str, Any]", body).get("errors")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        return []
    found: list[Problem] = []
    for entry in cast("Sequence[Any]", listed):
        if isinstance(entry, Mapping):
            entry = cast("Mapping[str, Any]", entry)
            code = entry.get("code")
            code = int(code) if isinstance(code, int | str) and str(code).isdigit() else None
            details = _details(entry)
            cases = tuple(str(each.get("scenario")) for each in details)
            found.append(Problem(code, _message(entry, details), cases))
    return found


def _details(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give what an entry tells of several things, one by one: Durable Object classes."""
    meta = entry.get("meta")
    listed = cast("Mapping[str, Any]", meta).get("details") if isinstance(meta, Mapping) else None
    items = cast("list[Any]", listed) if isinstance(listed, list) else []
    return [cast("Mapping[str, Any]", each) for each in items if isinstance(each, Mapping)]


def _message(entry: Mapping[str, Any], details: Sequence[Mapping[str, Any]]) -> str:
    """Give an entry's message with those below it, where Cloudflare tells the field or the class."""
    said = [str(entry.get("message") or "no message")]
    said += [f"[{each.get('scenario')}] {each.get('message')}" for each in details]
    for below in cast("Sequence[Any]", entry.get("error_chain") or ()):
        if isinstance(below, Mapping):
            said.append(str(cast("Mapping[str, Any]", below).get("message") or ""))
    return ": ".join(text for text in said if text)


def classify(
    doing: str, *, service: Service, kind: Kind, status: int, found: Sequence[Problem], retry_after: float | None = None
) -> AlchemyError:
    """Turn an answer into the error that the engine knows how to treat. Pure.

    Args:
        doing: what was asked, such as `create the D1 database 'notes'`.
        service: whose codes they are.
        kind: of call. `create`: an unclear end is `ambiguous`; `object`: "not found" means that the object is `Gone`;
            `list`: neither.
        status: of HTTP.
        found: the envelope's errors.
        retry_after: seconds that Cloudflare asked to wait.
    """
    code = found[0].code if found else None
    said = "; ".join(_numbered(problem) for problem in found) or f"HTTP {status}, without a reason"
    message = f"Cloudflare refused to {doing}: {said}"
    codes = {problem.code for problem in found}
    if status < 500 and (status == 401 or codes & _AUTHENTICATION or (status == 403 and not codes & {10042})):
        return ConfigurationError(
            f"Cloudflare refused CLOUDFLARE_API_TOKEN when asked to {doing}: {said}",
            hint=f"it needs the permission {PERMISSIONS[service]!r} on this account; change it at {TOKEN_PAGE}",
        )
    if _NO_OBJECT_ROUTE in codes:
        return ConfigurationError(message, hint="CLOUDFLARE_ACCOUNT_ID must be an account's id, 32 hexadecimal digits")
    cases = [case for problem in found for case in problem.cases]
    told = next((_CLASS_HINTS[case] for case in cases if case in _CLASS_HINTS), None)
    facts: dict[str, Any] = {"hint": hint_for(service, code) or told, "code": code, "status": status}
    if any((service, each) in _EXISTS for each in codes):
        facts["hint"] = "choose another name, or take it over with options=Options(adopt=True)"
        return AlreadyExists(message, **facts)
    if status == 404 and kind == "object" and found and not codes & _NO_SUCH_ENDPOINT:
        return Gone(message, **facts)
    if status in (408, 425, 429) or status >= 500:
        ambiguous = kind == "create" and (status >= 500 or status == 408)
        return ProviderError(
            f"Cloudflare could not {doing}: {said}",
            **facts,
            retryable=True,
            ambiguous=ambiguous,
            retry_after=retry_after,
        )
    return ProviderError(message, **facts, retryable=set(cases) == {_MAY_PASS})


def _numbered(problem: Problem) -> str:
    return problem.message if problem.code is None else f"{problem.message} [code: {problem.code}]"


def translate(error: APIError, doing: str, *, service: Service, kind: Kind) -> AlchemyError:
    """Turn an error of the SDK into this package's, with Cloudflare's code and message. See `classify`."""
    from cloudflare import APIConnectionError, APIResponseValidationError, APIStatusError, APITimeoutError

    if isinstance(error, APIStatusError):
        found = problems(error.body)
        if not found and isinstance(error.body, str) and error.body.strip() and not error.body.lstrip().startswith("<"):
            found = [Problem(None, error.body.strip()[:500])]
        return classify(
            doing,
            service=service,
            kind=kind,
            status=error.status_code,
            found=found,
            retry_after=_retry_after(error.response.headers),
        )
    if isinstance(error, APIConnectionError):
        cause = error.__cause__
        reason = str(cause) or type(cause).__name__ if cause is not None else error.message
        sent = type(cause).__name__ not in _NOT_SENT
        what = "did not answer in time" if isinstance(error, APITimeoutError) else "could not be reached"
        return ProviderError(
            f"Cloudflare {what} when asked to {doing}: {reason}",
            hint=None if sent else f"check the network, and whether {_host(error)} is running",
            retryable=True,
            ambiguous=sent and kind == "create",
        )
    if isinstance(error, APIResponseValidationError):
        return ProviderError(
            f"Cloudflare's answer when asked to {doing} is not what its API promises", ambiguous=kind == "create"
        )
    return ProviderError(f"Cloudflare could not {doing}: {error.message}")


def _host(error: APIError) -> str:
    url = error.request.url
    return f"{url.host}:{url.port}" if url.port else url.host


def _retry_after(headers: Headers) -> float | None:
    """Read `Retry-After`: seconds, or a date."""
    text = headers.get("retry-after")
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        return _until(text)


def _until(date: str) -> float | None:
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


@contextlib.contextmanager
def calling(doing: str, *, service: Service, kind: Kind = "object") -> Generator[None, None, None]:
    """Translate what the SDK raises inside. See `classify` for the arguments.

    The SDK's own error is not chained: the frames below it hold the request, and with it secrets in clear, and a
    traceback that shows locals would show them.
    """
    try:
        yield
    except Exception as error:
        from cloudflare import APIError

        if not isinstance(error, APIError):
            raise
        raise translate(error, doing, service=service, kind=kind) from None


def given(value: str | None, what: str) -> str:
    """Give back what an answer must hold.

    Raises:
        ProviderError: Cloudflare left it out. It may have done what it was asked.
    """
    if not value:
        raise ProviderError(f"Cloudflare's answer does not hold {what}", ambiguous=True)
    return value
