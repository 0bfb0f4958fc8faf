"""Reading the URLs of state stores."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection
from types import ModuleType
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from alchemy.errors import ConfigurationError


class Place(NamedTuple):
    """The parts of a URL: `scheme://host/path?options`.

    Attributes:
        host: with its port, without credentials; `""` when the URL has none.
        path: without the slash before it, decoded.
        options: what comes after the `?`.
    """

    scheme: str
    host: str
    path: str
    options: dict[str, str]


def parse(url: str, *, options: Collection[str]) -> Place:
    """Take a store's URL apart.

    Args:
        options: those that are known.

    Raises:
        ConfigurationError: an option that is not known, or given twice; the message does not show credentials.
    """
    parts = urlsplit(url)
    given: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in options:
            near = difflib.get_close_matches(name, options, 1)
            rest = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(options)) or 'none'}"
            raise ConfigurationError(f"{without_credentials(url)} has an unknown option {name!r}", hint=rest)
        if name in given:
            raise ConfigurationError(f"{without_credentials(url)} gives {name!r} twice", hint="give it once")
        given[name] = value
    return Place(parts.scheme, parts.netloc.rpartition("@")[2], unquote(parts.path.lstrip("/")), given)


def check_url(url: str) -> None:
    """Refuse what cannot be taken apart. Raises `ConfigurationError`, which shows no more of it than the scheme."""
    try:
        urlsplit(url)
    except ValueError:  # which may tell the password
        raise ConfigurationError(
            f"the state store's URL, {url.partition(':')[0]}:…, cannot be read",
            hint="an IPv6 address stands in brackets, and in a password all but letters and digits is percent-encoded",
        ) from None


def is_address(url: str) -> bool:
    """Say whether a URL names a host that can be asked over HTTP, with a port that can be one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def without_credentials(url: str) -> str:
    """Give a URL without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def with_options(base: str, **options: str | None) -> str:
    """Add the options that are given to a URL without any."""
    text = "&".join(f"{name}={quote(value, safe=':/')}" for name, value in options.items() if value is not None)
    return f"{base}?{text}" if text else base


def load_extra(module: str, *, extra: str, store: str) -> ModuleType:
    """Import what comes with an extra.

    Args:
        extra: of this distribution.
        store: what it is needed for, for the message.

    Raises:
        ConfigurationError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{store} needs {module.partition('.')[0]}, which is not installed",
            hint=f"pip install 'alchemy-iac[{extra}]'",
        ) from error
