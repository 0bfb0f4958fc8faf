"""What Cloudflare refuses, as errors that the engine knows how to treat."""

from __future__ import annotations

from typing import Any

import pytest

from alchemy.clients.cloudflare_errors import (
    PERMISSIONS,
    Kind,
    Problem,
    Service,
    calling,
    classify,
    given,
    hint_for,
    problems,
)
from alchemy.errors import AlchemyError, AlreadyExists, ConfigurationError, Gone, ProviderError


def refused(service: Service, status: int, code: int | None, *, kind: Kind = "object", **rest: Any) -> AlchemyError:
    """Classify an answer with one error, or none for `code=None`."""
    found = [] if code is None else [Problem(code, "what Cloudflare says")]
    return classify("do it", service=service, kind=kind, status=status, found=found, **rest)


@pytest.mark.parametrize(
    ("service", "status", "code", "expected"),
    [
        ("d1", 400, 7502, AlreadyExists),
        ("kv", 400, 10014, AlreadyExists),
        ("r2", 409, 10004, AlreadyExists),
        ("d1", 404, 7404, Gone),
        ("kv", 404, 10013, Gone),
        ("r2", 404, 10006, Gone),
        ("workers", 404, 10007, Gone),
        ("workers", 400, 10021, ProviderError),
        ("r2", 409, 10008, ProviderError),
        ("d1", 400, 7500, ProviderError),
        ("workers", 500, 10013, ProviderError),
        ("workers", 404, 7000, ProviderError),
        ("d1", 404, 7003, ConfigurationError),
        ("d1", 401, 10000, ConfigurationError),
        ("d1", 403, 10000, ConfigurationError),
        ("d1", 403, 9109, ConfigurationError),
        ("d1", 400, 6003, ConfigurationError),
        ("d1", 403, None, ConfigurationError),
        ("r2", 403, 10042, ProviderError),
    ],
)
def test_a_code_means_what_it_means_for_its_service(
    service: Service, status: int, code: int | None, expected: type[AlchemyError]
) -> None:
    """Each known refusal is of its class, keeps code and message, and is never retried or taken for done."""
    error = refused(service, status, code)
    assert type(error) is expected
    if code is not None:
        assert "what Cloudflare says" in error.message
        assert f"[code: {code}]" in error.message
    if isinstance(error, ProviderError):
        assert (error.code, error.status) == (code, status)
        assert not error.ambiguous
        assert error.retryable == (status >= 500)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_what_may_pass_is_retried(status: int) -> None:
    """Too many requests and failures at Cloudflare are retryable, with or without its envelope."""
    for code in (None, 971):
        error = refused("kv", status, code)
        assert isinstance(error, ProviderError)
        assert error.retryable


@pytest.mark.parametrize(
    ("status", "kind", "ambiguous"),
    [
        (500, "create", True),
        (504, "create", True),
        (408, "create", True),
        (429, "create", False),
        (500, "object", False),
    ],
)
def test_only_a_create_that_may_have_happened_is_ambiguous(status: int, kind: Kind, ambiguous: bool) -> None:
    """After a 5xx of a create the engine must look first; a 429 was certainly not carried out."""
    error = refused("d1", status, None, kind=kind)
    assert isinstance(error, ProviderError)
    assert error.ambiguous is ambiguous


@pytest.mark.parametrize("kind", ["create", "list"])
def test_not_found_is_gone_only_for_an_object(kind: Kind) -> None:
    """A 404 of a create or a list is about something else than the object."""
    assert type(refused("workers", 404, 10007, kind=kind)) is ProviderError


def test_a_404_that_is_not_cloudflares_proves_nothing() -> None:
    """Without Cloudflare's envelope (a wrong base URL, a proxy) an object does not count as gone."""
    assert type(refused("kv", 404, None)) is ProviderError


def test_the_wait_that_cloudflare_asks_for_is_kept() -> None:
    """`retry_after` reaches the engine."""
    error = refused("kv", 429, 971, retry_after=12.5)
    assert isinstance(error, ProviderError)
    assert error.retry_after == 12.5


@pytest.mark.parametrize("service", list(PERMISSIONS))
def test_a_refused_token_says_which_permission_it_needs(service: Service) -> None:
    """The error names the variable, what Cloudflare said, the permission, and where to change it."""
    error = refused(service, 403, 10000)
    assert "CLOUDFLARE_API_TOKEN" in error.message
    assert PERMISSIONS[service] in (error.hint or "")
    assert "api-tokens" in (error.hint or "")


def test_several_errors_are_all_said() -> None:
    """An answer with two errors shows both, and the code of the first."""
    found = [Problem(1, "one"), Problem(2, "two"), Problem(None, "three")]
    error = classify("do it", service="kv", kind="object", status=400, found=found)
    assert error.message == "Cloudflare refused to do it: one [code: 1]; two [code: 2]; three"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"errors": [{"code": 7, "message": "m"}]}, [Problem(7, "m")]),
        ({"errors": [{"code": "7", "message": "m"}]}, [Problem(7, "m")]),
        ({"errors": [{"message": "m"}]}, [Problem(None, "m")]),
        ({"errors": [{"code": 7}]}, [Problem(7, "no message")]),
        ({"errors": [{"code": 7, "message": "m", "error_chain": [{"message": "n"}]}]}, [Problem(7, "m: n")]),
        ({"errors": []}, []),
        ({"errors": None}, []),
        ({"errors": "text"}, []),
        ({"errors": ["text"]}, []),
        ({}, []),
        ("<html>", []),
        (None, []),
        ([1], []),
    ],
)
def test_any_body_is_read(body: object, expected: list[Problem]) -> None:
    """What is Cloudflare's envelope gives its errors; what is not gives none, and no error of our own."""
    assert problems(body) == expected


@pytest.mark.parametrize(
    ("service", "code", "part"),
    [
        ("r2", 10008, "empty_on_delete=True"),
        ("workers", 10021, "does not start"),
        ("d1", 7500, "SQL"),
        ("subdomain", 10007, "workers_dev=False"),
        ("r2", 10005, "3 to 63"),
    ],
)
def test_known_codes_have_a_next_step(service: str, code: int, part: str) -> None:
    """What to do is told for the codes that people meet."""
    assert part in (hint_for(service, code) or "")


def test_other_codes_have_none() -> None:
    """The same code of another service, and an unknown one, get no advice."""
    assert hint_for("kv", 10008) is None
    assert hint_for("r2", None) is None


def test_other_errors_pass_through() -> None:
    """What is not the SDK's is not touched."""
    problem = ValueError("mine")
    with pytest.raises(ValueError) as caught, calling("do it", service="kv"):
        raise problem
    assert caught.value is problem


def test_an_answer_without_what_it_must_hold_may_have_been_carried_out() -> None:
    """A missing id is an ambiguous error, so that the engine looks before it creates again."""
    assert given("x", "the id") == "x"
    for missing in (None, ""):
        with pytest.raises(ProviderError, match="does not hold the id") as caught:
            given(missing, "the id")
        assert caught.value.ambiguous


def test_each_durable_object_class_is_told() -> None:
    """One code stands for many cases, which the answer tells class by class; the hint is that of the case."""
    details = [
        {"class": "Room", "scenario": "config_export_not_in_code", "message": "it is not exported"},
        {"class": "Hall", "scenario": "something_new", "message": "it is new"},
    ]
    found = problems({"errors": [{"code": 100402, "message": "failed", "meta": {"details": [*details, "no object"]}}]})
    error = classify("upload it", service="workers", kind="create", status=400, found=found)
    assert "[config_export_not_in_code] it is not exported: [something_new] it is new" in error.message
    assert error.hint == "export the class from the entrypoint"
    assert isinstance(error, ProviderError)
    assert not error.retryable


def test_a_class_that_is_still_bound_may_pass() -> None:
    """The Worker that is bound to it may lose its binding in the same deploy; what else is wrong stays wrong."""
    bound = {"scenario": "tombstone_delete_blocked_by_external_bindings"}
    for details, passes in (([bound], True), ([bound, {"scenario": "config_export_not_in_code"}], False)):
        found = problems({"errors": [{"code": 100402, "message": "failed", "meta": {"details": details}}]})
        error = classify("upload it", service="workers", kind="create", status=400, found=found)
        assert isinstance(error, ProviderError)
        assert (error.retryable, error.ambiguous) == (passes, False)
        assert "first deploy the other Workers" in (error.hint or "")
