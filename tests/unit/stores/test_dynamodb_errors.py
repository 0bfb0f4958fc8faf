"""What the errors of DynamoDB mean: which are asked again, which say that a lease is lost, and which are the user's."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from alchemy.errors import ConfigurationError, StateError
from alchemy.stores._dynamodb_table import Refused, Table
from alchemy.stores.backend import Unreachable

URL = "dynamodb://state?region=eu-west-1"


def meaning(code: str, *, reasons: list[str] | None = None, status: int = 400) -> Exception:
    """Give what an answer with an error means."""
    table = Table("state", region="eu-west-1", endpoint=None, url=URL)
    response: dict[str, object] = {
        "Error": {"Code": code, "Message": "why"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    if reasons is not None:
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return table._answered(ClientError(response, "TransactWriteItems"))


@pytest.mark.parametrize(
    ("reasons", "places"),
    [
        (["ConditionalCheckFailed", "None"], {0}),
        (["None", "ConditionalCheckFailed", "TransactionConflict"], {1}),
        (["ConditionalCheckFailed", "ConditionalCheckFailed"], {0, 1}),
    ],
)
def test_a_condition_that_does_not_hold_is_told_by_its_place(reasons: list[str], places: set[int]) -> None:
    """Also when something else stood in the way of another step."""
    refused = meaning("TransactionCanceledException", reasons=reasons)
    assert isinstance(refused, Refused)
    assert refused.places == places


@pytest.mark.parametrize("reason", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_transaction_that_was_put_off_is_asked_for_again(reason: str) -> None:
    """A conflict or a limit says nothing of the lease."""
    assert isinstance(meaning("TransactionCanceledException", reasons=["None", reason]), Unreachable)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("ProvisionedThroughputExceededException", 400),
        ("TransactionInProgressException", 400),
        ("TransactionConflictException", 400),
        ("InternalServerError", 500),
        ("SomethingNew", 503),
    ],
)
def test_what_another_moment_may_change_is_asked_for_again(code: str, status: int) -> None:
    """Limits, conflicts and the server's own failures."""
    assert isinstance(meaning(code, status=status), Unreachable)


@pytest.mark.parametrize(
    "code",
    ["UnrecognizedClientException", "ExpiredTokenException", "AccessDeniedException", "InvalidSignatureException"],
)
def test_credentials_that_are_refused_are_the_users(code: str) -> None:
    """Asking again would not help; the remedy is named, and so is the place."""
    error = meaning(code)
    assert isinstance(error, ConfigurationError)
    assert URL in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("code", "reasons"), [("ValidationException", None), ("TransactionCanceledException", ["ValidationError"])]
)
def test_what_can_never_work_is_not_asked_for_again(code: str, reasons: list[str] | None) -> None:
    """It is an error with what the server said."""
    error = meaning(code, reasons=reasons)
    assert isinstance(error, StateError)
    assert not isinstance(error, Unreachable)
    assert "why" in error.message
