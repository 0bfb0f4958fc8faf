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

from alchemy.errors import DeclarationError

MAX_ID = 128
RESERVED_APPS = frozenset({"locks", "local"})
RESERVED_STAGE = "test"
SUFFIX_LENGTH = 8
_FORBIDDEN = frozenset("/\\:")
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,128}")


def check_id(value: object, *, what: str) -> str:
    """Give `value` back if it can name a scope or a resource.

    Args:
        value: 1 to 128 characters, none of them `/`, `\\`, `:` or a control character; not `.` or `..`.
        what: what is being named, for the message: "resource id", "stage name".

    Raises:
        DeclarationError: it cannot; the message says which rule it breaks.
    """
    if not isinstance(value, str):
        raise DeclarationError(f"a {what} must be text, not {type(value).__name__}")
    if _PLAIN.fullmatch(value) and value not in (".", ".."):
        return value
    reason = _why_not(value)
    if reason:
        raise DeclarationError(
            f"{value!r} cannot be a {what}: {reason}",
            hint=f"use 1 to {MAX_ID} letters, digits, '-', '_' or '.'",
        )
    return value


def _why_not(value: str) -> str | None:
    if not value.strip():
        return "it is empty"
    if len(value) > MAX_ID:
        return f"it has {len(value)} characters"
    if value in (".", ".."):
        return "it would mean a folder"
    for char in value:
        if char in _FORBIDDEN:
            return f"it contains {char!r}"
        if unicodedata.category(char) in ("Cc", "Cs"):
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
    """Name the stage after the user, as far as a user's name can name one."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "dev"
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", user).strip("-.") or "dev"
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
        max: the longest name, in characters; at least 12.
        lowercase: fold to lower case.
        separator: what stands between the parts and instead of characters that are not allowed.
        allowed: the characters that may stay, as the inside of a regular expression's class.
        prefix: put before every name, for providers that want a letter first.
    """

    max: int = 63
    lowercase: bool = True
    separator: str = "-"
    allowed: str = "a-z0-9-"
    prefix: str = ""


def physical_name(
    naming: Naming, *, lineage: str, fqn: str, kind: str, generation: int, override: str | None = None
) -> str:
    """Compute what an object is called at its provider.

    The FQN's readable end, then `-` and 8 characters of
    base32(HMAC-SHA256(lineage, fqn, kind, generation)). Known before the object exists, so that it is
    found again after a crash; different for every copy of an application, so that none takes another's.

    Args:
        naming: the provider's rules.
        lineage: 128 random bits in hexadecimal, of the application.
        fqn: the resource.
        kind: its kind; another kind under the same id gets another name.
        generation: 1 for the first, one more for each replacement.
        override: readable text to use instead of the FQN's.
    """
    message = "\0".join((fqn, kind, str(generation))).encode()
    digest = hmac.digest(bytes.fromhex(lineage), message, "sha256")
    suffix = base64.b32encode(digest).decode()[:SUFFIX_LENGTH].lower()
    room = naming.max - len(naming.prefix) - SUFFIX_LENGTH - len(naming.separator)
    readable = _readable(override or fqn, naming)[-room:].strip(naming.separator)
    stem = f"{readable}{naming.separator}" if readable else ""
    return f"{naming.prefix}{stem}{suffix}"


def _readable(text: str, naming: Naming) -> str:
    folded = text.lower() if naming.lowercase else text
    replaced = re.sub(f"[^{naming.allowed}]+", naming.separator, folded)
    doubled = re.escape(naming.separator) + "{2,}"
    return re.sub(doubled, naming.separator, replaced).strip(naming.separator)
