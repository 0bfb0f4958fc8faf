"""What an upload's bindings mean."""

from __future__ import annotations

from typing import Any

import pytest

from alchemy.local.control.bindings import check_targets, resolve, show
from alchemy.local.control.envelope import ApiError
from alchemy.local.runtime.worker import Resources, Worker

SECRET = {"type": "secret_text", "name": "S", "text": "hidden"}
PLAIN = {"type": "plain_text", "name": "P", "text": "seen"}


def worker(*bindings: dict[str, Any], name: str = "w") -> Worker:
    """Return a Worker with these bindings."""
    return Worker(name, "", "", (), bindings, "2026-07-01")


def test_what_is_left_out_is_gone_unless_kept() -> None:
    """`keep_bindings` keeps by type, and a new binding of the name wins."""
    assert resolve([], worker(SECRET, PLAIN), ()) == ()
    assert resolve(None, worker(SECRET, PLAIN), ["secret_text"]) == (SECRET,)
    other = {"type": "plain_text", "name": "S", "text": "new"}
    assert resolve([other], worker(SECRET), ["secret_text"]) == (other,)


def test_inheriting_takes_the_old_value() -> None:
    """By name, by another old name, and for a secret without a value."""
    assert resolve([{"type": "inherit", "name": "S"}], worker(SECRET), ()) == (SECRET,)
    renamed = resolve([{"type": "inherit", "name": "T", "old_name": "S"}], worker(SECRET), ())
    assert renamed == ({**SECRET, "name": "T"},)
    assert resolve([{"type": "secret_text", "name": "S"}], worker(SECRET), ()) == (SECRET,)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("x", 10021),
        (["x"], 10052),
        ([{"type": "plain_text", "text": "x"}], 10052),
        ([{"type": "plain_text", "name": "", "text": "x"}], 10052),
        ([PLAIN, PLAIN], 10021),
        ([{"type": "inherit", "name": "none"}], 10057),
        ([{"type": "secret_text", "name": "none"}], 10057),
        ([{"type": "durable_object_namespace", "name": "D"}], 10021),
        ([{"type": "json", "name": "J"}], 10021),
        ([{"type": "r2_bucket", "name": "R"}], 10021),
        ([{"type": "plain_text", "name": "P", "text": 5}], 10021),
        ([{"type": "plain_text", "name": "P", "text": "x" * 5121}], 10021),
        ([{"type": "secret_text", "name": "S", "text": "a\0b"}], 10021),
    ],
)
def test_what_cannot_be_understood_is_refused(given: object, code: int) -> None:
    """Each with its own code."""
    with pytest.raises(ApiError) as refused:
        resolve(given, None, ())
    assert refused.value.code == code


def test_a_worker_may_be_bound_to_itself() -> None:
    """Its own name counts as there, also at the first upload."""
    check_targets(worker({"type": "service", "name": "ME", "service": "w"}), Resources(), {})


def test_a_secret_is_shown_without_its_value() -> None:
    """The other kinds are shown as they are."""
    assert show(SECRET) == {"type": "secret_text", "name": "S"}
    assert show(PLAIN) == PLAIN
