"""Ids, chains, FQNs and physical names: what things are called. Pure.

A chain is the path of a scope, `notes/prod/database`; a resource's FQN is its scope's chain and its id.
"""

from __future__ import annotations

import base64
import getpass
import hmac
import re
import unicodedata
from dataclasses import dataclass

from alchemy.errors import DeclarationError, StateError

MAX_ID = 128
RESERVED_APPS = frozenset({"locks", "local"})
RESERVED_STAGE = "test"
SUFFIX_LENGTH = 8
_FORBIDDEN = frozenset("/\\:")
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,128}")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, lone surrogates, line and paragraph ends


def check_id(value: object, *, what: str) -> str:
    """Give `value` back, as plain text, if it can name a scope or a resource.

    Args:
        value: 1 to 128 characters, none of them `/`, `\\`, `:`, a control character or a line end; not blank, and
            neither `.` nor `..`.
        what: what is being named, for the message: "resource id", "stage name".

    Raises:
        DeclarationError: it cannot; the message says which rule it breaks.
    """
    if not isinstance(value, str):
        raise DeclarationError(f"{_with_article(what)} must be text, not {type(value).__name__}")
    text = str.__str__(value)  # an enum's member counts as its value, and is stored as that
    if _PLAIN.fullmatch(text) and text not in (".", ".."):
        return text
    reason = _why_not(text)
    if reason:
        shown = repr(text) if len(text) <= 40 else f"{text[:40]!r}…"
        raise DeclarationError(
            f"{shown} cannot be {_with_article(what)}: {reason}",
            hint=f"use 1 to {MAX_ID} letters, digits, '-', '_' or '.'",
        )
    return text


def _with_article(what: str) -> str:
    return f"{'an' if what[:1].lower() in 'aeiou' else 'a'} {what}"


def _why_not(value: str) -> str | None:
    if not value.strip():
        return "it is blank" if value else "it is empty"
    if len(value) > MAX_ID:
        return f"it has {len(value)} characters, more than {MAX_ID}"
    if value in (".", ".."):
        return "it would mean a folder"
    for char in value:
        if char in _FORBIDDEN:
            return f"it contains {char!r}"
        if unicodedata.category(char) in _UNPRINTABLE:
            return f"it contains the control character U+{ord(char):04X}"
    return None


def check_app(name: object) -> str:
    """Give `name` back if an application can be called so."""
    app = check_id(name, what="application name")
    if app in RESERVED_APPS or app.startswith("."):
        raise DeclarationError(
            f"{app!r} cannot be an application name: the state folder uses it for itself",
            hint="choose another name",
        )
    return app


def check_stage(name: object) -> str:
    """Give `name` back if a stage can be called so."""
    stage = check_id(name, what="stage name")
    if stage == RESERVED_STAGE:
        raise DeclarationError(
            "'test' cannot be a stage name: test scopes live there",
            hint="choose another name, such as 'testing', or use alchemy.test(...)",
        )
    return stage


def default_stage() -> str:
    """Name the stage after the user, as far as a user's name can name one; `dev` where there is none."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no entry for the user id, as in many containers; no pwd on Windows
        user = "dev"
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", user)[:64].strip("-.") or "dev"
    return cleaned if cleaned != RESERVED_STAGE else f"{cleaned}-user"


def join(*parts: str) -> str:
    """Join chains and ids into a chain or an FQN."""
    return "/".join(parts)


def parent(fqn: str) -> str:
    """Give the chain that holds `fqn`: everything before its last part."""
    return fqn.rpartition("/")[0]


def leaf(fqn: str) -> str:
    """Give the last part of a chain or FQN."""
    return fqn.rpartition("/")[2]


def unit_of(fqn: str) -> str:
    """Give the unit (stage or test scope) that a chain or FQN belongs to."""
    parts = fqn.split("/")
    return "/".join(parts[:3] if len(parts) > 1 and parts[1] == RESERVED_STAGE else parts[:2])


def is_within(fqn: str, chain: str) -> bool:
    """Say whether `fqn` is `chain` itself or lies below it."""
    return fqn == chain or fqn.startswith(chain + "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How a provider lets its objects be called.

    Attributes:
        max: the longest name, in characters, `prefix` included; at least 8 more than `prefix` has.
        lowercase: fold to lower case.
        separator: what stands between the parts, and instead of characters that may not stay; can be empty.
        allowed: the characters that may stay, as the inside of a regular expression's class (ASCII rules).
        prefix: put before every name as it is, for providers that want a letter first.

    Raises:
        DeclarationError: no name can follow these rules.
    """

    max: int = 63
    lowercase: bool = True
    separator: str = "-"
    allowed: str = "a-z0-9-"
    prefix: str = ""

    def __post_init__(self) -> None:
        least = len(self.prefix) + SUFFIX_LENGTH
        if self.max < least:
            raise DeclarationError(
                f"names of at most {self.max} characters are too short: "
                f"the prefix {self.prefix!r} and {SUFFIX_LENGTH} characters that tell objects apart take {least}",
                hint="raise max, or shorten prefix",
            )
        try:
            re.compile(f"[^{self.allowed}]")
        except re.error as error:
            raise DeclarationError(
                f"{self.allowed!r} is not the inside of a character class: {error}", hint="such as 'a-z0-9-'"
            ) from error


def physical_name(
    naming: Naming, *, lineage: str, fqn: str, kind: str, generation: int, override: str | None = None
) -> str:
    """Compute what an object is called at its provider.

    The FQN's readable end, then `-` and 8 characters of
    base32(HMAC-SHA256(lineage, fqn, kind, generation)). Known before the object exists, so that it is
    found again after a crash; different for every copy of an application, so that none takes another's.
    Never changes for the same arguments, in any later version: objects are found by it.

    Args:
        naming: the provider's rules. The name keeps to `max`; what stands between `prefix` and the last 8 characters
            starts with a letter or digit, or is not there when there is no room for it.
        lineage: 128 random bits in hexadecimal, of the application.
        fqn: the resource.
        kind: its kind; another kind under the same id gets another name.
        generation: 1 for the first, one more for each replacement.
        override: readable text to use instead of the FQN's.

    Raises:
        StateError: `lineage` is not what an application's record must hold.
    """
    message = "\0".join((fqn, kind, str(generation))).encode()
    digest = hmac.digest(_lineage_key(lineage), message, "sha256")
    suffix = base64.b32encode(digest).decode()[:SUFFIX_LENGTH].lower()
    room = naming.max - len(naming.prefix) - SUFFIX_LENGTH - len(naming.separator)
    readable = _readable(override or fqn, naming)
    kept = _strip(readable[-room:]) if room > 0 else ""
    stem = f"{kept}{naming.separator}" if kept else ""
    return f"{naming.prefix}{stem}{suffix}"


def _lineage_key(lineage: str) -> bytes:
    try:
        key = bytes.fromhex(lineage)
    except ValueError:
        key = b""
    if len(key) != 16:
        # With a short or empty key, copies of an application would take each other's objects for their own.
        raise StateError(
            f"the application's lineage, {lineage!r}, is not 128 bits in hexadecimal",
            hint="restore the application's state.json from a backup",
        )
    return key


def _readable(text: str, naming: Naming) -> str:
    folded = text.lower() if naming.lowercase else text
    replaced = re.sub(f"[^{naming.allowed}]+", lambda _: naming.separator, folded, flags=re.ASCII)
    if not naming.separator:
        return replaced
    return re.sub(f"(?:{re.escape(naming.separator)}){{2,}}", lambda _: naming.separator, replaced)


def _strip(text: str) -> str:
    """Drop what is neither letter nor digit from both ends: half a separator after a cut, or an id's own dots."""
    return text.strip("".join({char for char in text if not char.isalnum()}))
