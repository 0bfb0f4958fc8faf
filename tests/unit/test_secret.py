"""A secret stays secret, whatever prints, encodes, copies or compares it."""

from __future__ import annotations

import copy
import io
import json
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.traceback import Traceback

from alchemy.secret import MASK, Secret

CLEAR = "hunter2-in-clear"


@dataclass
class Holder:
    token: Secret[str]


@pytest.fixture
def secret() -> Secret[str]:
    return Secret(CLEAR, name="TOKEN")


PRINTED: dict[str, Callable[[Secret[str]], str]] = {
    "str": str,
    "repr": repr,
    "ascii": ascii,
    "f-string": lambda s: f"{s}",
    "f-string, repr": lambda s: f"{s!r}",
    "f-string, padded": lambda s: f"{s:>12}",
    "f-string, debug": lambda s: f"{s=}",
    "format": lambda s: "{} {0!r}".replace("{}", "{0}").format(s),
    "percent s": lambda s: "%s" % s,  # noqa: UP031
    "percent r": lambda s: "%r" % (s,),  # noqa: UP031
    "in a list": lambda s: str([s]),
    "in a dict": lambda s: repr({"token": s}),
    "in a dataclass": lambda s: repr(Holder(s)),
    "pprint": lambda s: pprint.pformat({"token": s}),
    "exception": lambda s: str(ValueError("bad", s)),
    "json with default=str": lambda s: json.dumps({"token": s}, default=str),
    "msgspec with enc_hook=str": lambda s: msgspec.json.encode({"token": s}, enc_hook=str).decode(),
    "msgspec to_builtins": lambda s: str(msgspec.to_builtins([s], enc_hook=str)),
}


@pytest.mark.parametrize("how", PRINTED)
def test_prints_the_mask(how: str, secret: Secret[str]) -> None:
    """Every way to make text of a secret shows the mask and not the value."""
    shown = PRINTED[how](secret)
    assert MASK in shown
    assert CLEAR not in shown


REFUSED: dict[str, Callable[[Secret[str]], object]] = {
    "json": json.dumps,
    "json in a dict": lambda s: json.dumps({"token": s}),
    "msgspec json": msgspec.json.encode,
    "msgspec msgpack": msgspec.msgpack.encode,
    "msgspec in a struct's place": lambda s: msgspec.json.encode({"holder": Holder(s)}),
    "join": lambda s: "".join([s]),  # type: ignore[list-item]
    "concatenation": lambda s: "x" + s,  # type: ignore[operator]
    "iteration": list,  # type: ignore[dict-item]
    "vars": vars,
    **{f"pickle {number}": lambda s, n=number: pickle.dumps(s, n) for number in range(pickle.HIGHEST_PROTOCOL + 1)},  # type: ignore[misc]
    "pickle in a list": lambda s: pickle.dumps([s]),
    "__reduce__": lambda s: s.__reduce__(),
    "__getstate__": lambda s: s.__getstate__(),
}


@pytest.mark.parametrize("how", REFUSED)
def test_refuses_without_showing_the_value(how: str, secret: Secret[str]) -> None:
    """What cannot mask a secret fails with a TypeError that does not show the value, its locals included."""
    with pytest.raises(TypeError) as caught:
        REFUSED[how](secret)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert CLEAR not in "".join(frames.format())


def test_pickling_says_what_to_do(secret: Secret[str]) -> None:
    """The error of a pickle shows the mask and the remedy."""
    with pytest.raises(TypeError, match=r"a secret \(\*\*\*\) cannot be pickled; pass it as an input"):
        pickle.dumps(secret)


def test_tracebacks_with_locals_show_the_mask(secret: Secret[str]) -> None:
    """A traceback that prints locals, Python's or rich's, shows the mask in their place."""

    def fail(token: Secret[str], nested: dict[str, Any]) -> None:
        raise RuntimeError(f"refused {token} in {nested}")

    with pytest.raises(RuntimeError) as caught:
        fail(secret, {"holder": Holder(secret)})
    error = caught.value
    plain = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    output = io.StringIO()
    console = Console(file=output, width=200)
    console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
    console.print({"token": secret}, secret)
    for shown in (plain, output.getvalue()):
        assert MASK in shown
        assert CLEAR not in shown


class Fragile:
    """A value whose comparison fails, with a repr that tells."""

    def __repr__(self) -> str:
        return CLEAR

    def __eq__(self, other: object) -> bool:
        raise ValueError("cannot compare")

    __hash__ = None  # type: ignore[assignment]


def test_a_failing_comparison_does_not_leak() -> None:
    """When comparing two values fails, the secret's own frames hold neither of them among their locals."""
    with pytest.raises(ValueError, match="cannot compare") as caught:
        _ = Secret(Fragile()) == Secret(Fragile())
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    own = [frame for frame in frames if frame.filename.endswith("secret.py") and "test_" not in frame.filename]
    assert own
    assert all(CLEAR not in str(frame.locals) for frame in own)


def test_has_no_attributes_to_look_through(secret: Secret[str]) -> None:
    """There is no `__dict__`, subscripted construction included, and `dir` names the value nowhere."""
    assert not hasattr(secret, "__dict__")
    assert not hasattr(Secret[str](CLEAR), "__dict__")
    assert CLEAR not in str(dir(secret))


def test_reveals_when_told(secret: Secret[str]) -> None:
    """The value comes out by `reveal` alone, and the name is kept."""
    assert secret.reveal() == CLEAR
    assert secret.name == "TOKEN"
    assert Secret({"a": 1}).reveal() == {"a": 1}


def test_does_not_nest(secret: Secret[str]) -> None:
    """A secret of a secret is refused: revealing it once would look like enough."""
    with pytest.raises(TypeError, match="cannot hold another secret"):
        Secret(secret)


def test_copies_are_secrets() -> None:
    """`copy` shares the value and `deepcopy` does not; both stay secret and keep the name."""
    original = Secret({"password": [CLEAR]}, name="DB")
    shallow, deep = copy.copy(original), copy.deepcopy(original)
    assert shallow == deep == original
    assert shallow.reveal() is original.reveal()
    assert deep.reveal() is not original.reveal()
    deep.reveal()["password"].append("more")
    assert original.reveal() == {"password": [CLEAR]}
    assert shallow.name == deep.name == "DB"
    assert CLEAR not in f"{shallow}{deep!r}"


def test_deep_copies_keep_identity_within_a_structure(secret: Secret[str]) -> None:
    """One secret in two places of a structure is one secret in its deep copy."""
    first, second = copy.deepcopy([secret, secret])
    assert first is second
    assert first is not secret


def test_dataclasses_with_secrets_become_dicts(secret: Secret[str]) -> None:
    """`dataclasses.asdict`, which copies deeply, keeps a secret a secret."""
    assert asdict(Holder(secret)) == {"token": secret}


VALUES = st.one_of(st.text(), st.binary(), st.integers(), st.booleans(), st.none(), st.lists(st.text()))


@given(VALUES, VALUES)
def test_equal_when_the_values_are(one: object, other: object) -> None:
    """Two secrets are equal exactly when their values are, of one type; truth is the value's."""
    assert (Secret(one) == Secret(other)) is (type(one) is type(other) and one == other)
    assert Secret(one) == Secret(copy.deepcopy(one), name="another name")
    assert bool(Secret(one)) is bool(one)
    assert Secret(one) != one


@given(st.text())
def test_equal_secrets_hash_alike(value: str) -> None:
    """A set keeps one of two equal secrets, and a value is not found by its clear text."""
    assert len({Secret(value), Secret(value)}) == 1
    assert value not in {Secret(value)}


def test_compares_text_that_is_not_unicode() -> None:
    """Text with lone surrogates, from an environment that is not UTF-8, compares without an error that shows it."""
    assert Secret("\udcff") == Secret("\udcff")
    assert Secret("\udcff") != Secret("\udcfe")


def test_a_secret_of_a_container_has_no_hash() -> None:
    """Hashing a secret that holds a dict fails as hashing the dict does, without showing it."""
    with pytest.raises(TypeError, match="unhashable") as caught:
        hash(Secret({"a": CLEAR}))
    assert CLEAR not in str(caught.value)
