"""What a Worker is: the values that the control plane keeps and the data plane is wired from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Module:
    """One file of a script.

    Attributes:
        name: what an import statement calls it, with subfolders: `lib/format.js`.
        type: its content type, without parameters.
        content: as uploaded.
    """

    name: str
    type: str
    content: bytes


@dataclass(frozen=True)
class Worker:
    """A Worker as last uploaded. Values are never changed, only replaced.

    Attributes:
        name: the script's name.
        tag: 32 hexadecimal digits, kept as long as the Worker exists.
        etag: digest of the modules.
        modules: the main one first.
        bindings: as uploaded, with the values of secrets.
        compatibility_date: `YYYY-MM-DD`.
        compatibility_flags: in the order given.
        settings: everything else of the upload's metadata that is only kept and shown (tags, observability …).
        classes: its Durable Object classes, with the ids of their namespaces.
        migration_tag: of the last migration of its classes; `None` before the first that had one.
        declarative: its classes are as its `exports` say, and not made by migrations.
        pending: classes that another Worker is to hand over to it, with that one's name.
        port: of 127.0.0.1, the same for the Worker's whole life unless another program takes it in between.
        enabled: whether it was made reachable (workers.dev); `None` when nobody has said so yet.
        previews_enabled: kept and shown, without effect here.
        created_on: RFC 3339, UTC.
        modified_on: RFC 3339, UTC.
    """

    name: str
    tag: str
    etag: str
    modules: tuple[Module, ...]
    bindings: tuple[Mapping[str, Any], ...]
    compatibility_date: str
    compatibility_flags: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    classes: Mapping[str, str] = field(default_factory=dict[str, str])
    migration_tag: str | None = None
    declarative: bool = False
    pending: Mapping[str, str] = field(default_factory=dict[str, str])
    port: int = 0
    enabled: bool | None = None
    previews_enabled: bool = False
    created_on: str = ""
    modified_on: str = ""

    @property
    def served(self) -> bool:
        """Whether its address answers. A Worker that nobody has switched off does: see `control.subdomain`."""
        return self.enabled is not False


@dataclass(frozen=True)
class Resources:
    """What bindings can refer to, at one moment.

    Attributes:
        databases: ids of the D1 databases.
        namespaces: ids of the KV namespaces.
        buckets: R2 buckets by name, with the id that their objects are stored under.
    """

    databases: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    buckets: Mapping[str, str] = field(default_factory=dict[str, str])
