"""From Workers to workerd's configuration.

Three simulators (D1, KV, R2) are Durable Objects of miniflare's; in front of each stands miniflare's entry worker,
which a binding names together with the id it means. Everything here is pure: the caller writes the files.

A secret is not in the configuration: the binding says from which environment variable workerd takes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from alchemy.local.runtime.capnp import VOID, Embed, Value, document
from alchemy.local.runtime.worker import Module, Resources, Worker

ADMIN, ENTRY = "admin", "entry"
ADMIN_TOKEN = "ALCHEMY_ADMIN_TOKEN"
_NAMES_MODULE = "alchemy:names"

_OUR_DATE = "2026-07-01"
_SIMULATOR_DATE = "2023-07-24"
_SIMULATOR_FLAGS = ("nodejs_compat", "experimental")
_MODULE_FIELDS = {
    "application/javascript+module": "esModule",
    "text/javascript+module": "esModule",
    "application/javascript": "commonJsModule",
    "text/javascript": "commonJsModule",
    "text/plain": "text",
    "text/html": "text",
    "text/css": "text",
    "application/json": "json",
    "application/octet-stream": "data",
    "application/wasm": "wasm",
}
IGNORED_MODULE_TYPES = frozenset({"application/source-map"})
MODULE_TYPES = frozenset(_MODULE_FIELDS)

_SIMULATORS = {
    "d1": ("D1DatabaseObject", "d1/database.worker.js"),
    "kv": ("KVNamespaceObject", "kv/namespace.worker.js"),
    "r2": ("R2BucketObject", "r2/bucket.worker.js"),
}


@dataclass
class Wiring:
    """A configuration and what belongs to it.

    Attributes:
        services: of the configuration, in order.
        sockets: of the configuration; each listens on a descriptor that is passed to workerd under its name.
        environment: variables that hold the secrets.
        files: what the configuration embeds, by path relative to it.
    """

    services: list[Value] = field(default_factory=list[Value])
    sockets: list[Value] = field(default_factory=list[Value])
    environment: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    extensions: list[Value] = field(default_factory=list[Value])

    def text(self) -> str:
        """Return the configuration file."""
        config: dict[str, Value] = {"services": self.services, "sockets": self.sockets}
        if self.extensions:
            config["extensions"] = self.extensions
        return document(config)

    def embed(self, content: bytes) -> Embed:
        """Add a file, named by its digest, and return the reference to it."""
        path = f"modules/{hashlib.sha256(content).hexdigest()}"
        self.files[path] = content
        return Embed(path)

    def secret(self, value: str) -> str:
        """Add an environment variable and return its name."""
        name = f"ALCHEMY_SECRET_{len(self.environment)}"
        self.environment[name] = value
        return name

    def socket(self, name: str, service: str) -> None:
        """Listen; the address is never used, because a descriptor always takes its place."""
        self.sockets.append({"name": name, "address": "127.0.0.1:0", "service": service, "http": {}})

    def own_module(self, name: str) -> Embed:
        """Add one of this package's own scripts, `js/<name>.js`, and return the reference to it."""
        return self.embed(resources.files("alchemy.local.runtime").joinpath("js", f"{name}.js").read_bytes())

    def own_worker(self, name: str, *, bindings: Iterable[Value] = (), flags: Iterable[str] = ()) -> None:
        """Add one of this package's own workers, `js/<name>.js`."""
        module: Value = {"name": f"{name}.js", "esModule": self.own_module(name)}
        definition: dict[str, Value] = {
            "modules": [module],
            "compatibilityDate": _OUR_DATE,
            "compatibilityFlags": list(flags),
            "bindings": list(bindings),
        }
        self.services.append({"name": name, "worker": definition})


def data_plane(workers: Mapping[str, Worker], targets: Resources, *, storage: str, admin_token: str) -> Wiring:
    """Wire all Workers, the simulators below the folder `storage`, the admin worker and the `NAME.localhost` entry.

    Sockets: `admin`, `entry`, and `worker:NAME` for each Worker.
    """
    wiring = Wiring()
    _internet(wiring)
    for name in ("empty", "gone", "disabled"):
        wiring.own_worker(name)
    for kind in _SIMULATORS:
        _simulator(wiring, kind, storage)
    wiring.services.append({"name": "do:storage", "disk": {"path": f"{storage}/do", "writable": True}})
    wiring.services.append({"name": "do:names", "disk": {"path": f"{storage}/names", "writable": True}})
    _cache(wiring)
    for worker in workers.values():
        wiring.services.append(user_worker(wiring, worker, targets=targets, peers=workers))
        wiring.socket(f"worker:{worker.name}", f"worker:{worker.name}" if worker.served else "disabled")
    wiring.environment[ADMIN_TOKEN] = admin_token
    wiring.own_worker("admin", bindings=_admin_bindings(workers), flags=["unsafe_module"])
    wiring.socket(ADMIN, "admin")
    served = (worker.name for worker in workers.values() if worker.served)
    wiring.own_worker("entry", bindings=[{"name": name, "service": {"name": f"worker:{name}"}} for name in served])
    wiring.socket(ENTRY, "entry")
    wiring.extensions.append(
        {
            "modules": [
                {"name": "miniflare:shared", "esModule": Embed("/shared/index.worker.js")},
                {"name": "miniflare:zod", "esModule": Embed("/shared/zod.worker.js")},
                {"name": _NAMES_MODULE, "esModule": wiring.own_module("names"), "internal": True},
            ]
        }
    )
    return wiring


def scratch(worker: Worker) -> Wiring:
    """Wire one Worker alone, every binding leading to a worker that does nothing, to see whether it starts.

    Socket: `worker`.
    """
    wiring = Wiring()
    _internet(wiring)
    wiring.own_worker("empty")
    wiring.services.append(user_worker(wiring, worker, targets=None, peers={}))
    wiring.socket("worker", f"worker:{worker.name}")
    return wiring


def user_worker(
    wiring: Wiring, worker: Worker, *, targets: Resources | None, peers: Mapping[str, Worker]
) -> Mapping[str, Value]:
    """Return the service of a user's Worker. With `targets=None` all its bindings lead to `empty`."""
    modules = [_module(wiring, module) for module in worker.modules if module.type not in IGNORED_MODULE_TYPES]
    bindings = [
        _object_class(binding, worker, peers, named=targets is not None)
        if binding["type"] == "durable_object_namespace"
        else _binding(wiring, binding, targets, peers)
        for binding in worker.bindings
    ]
    definition: dict[str, Value] = {
        "modules": modules,
        "compatibilityDate": worker.compatibility_date,
        "compatibilityFlags": list(worker.compatibility_flags),
        "bindings": bindings,
    }
    if worker.classes:
        definition["durableObjectNamespaces"] = [
            {"className": name, "uniqueKey": namespace, "enableSql": True} for name, namespace in worker.classes.items()
        ]
        definition["durableObjectStorage"] = {"inMemory": VOID} if targets is None else {"localDisk": "do:storage"}
    if targets is not None:
        definition["cacheApiOutbound"] = "cache"
    return {"name": f"worker:{worker.name}", "worker": definition}


def _module(wiring: Wiring, module: Module) -> Mapping[str, Value]:
    return {"name": module.name, _MODULE_FIELDS[module.type]: wiring.embed(module.content)}


def _binding(
    wiring: Wiring, binding: Mapping[str, Any], targets: Resources | None, peers: Mapping[str, Worker]
) -> Mapping[str, Value]:
    name = str(binding["name"])
    match binding["type"]:
        case "plain_text":
            return {"name": name, "text": str(binding["text"])}
        case "json":
            return {"name": name, "json": json.dumps(binding["json"])}
        case "secret_text":
            return {"name": name, "fromEnvironment": wiring.secret(str(binding["text"]))}
        case "kv_namespace":
            return {"name": name, "kvNamespace": _target("kv", binding_target(binding), targets)}
        case "r2_bucket":
            return {"name": name, "r2Bucket": _target("r2", binding_target(binding), targets)}
        case "d1":
            inner: Value = {"name": "fetcher", "service": _target("d1", binding_target(binding), targets)}
            return {
                "name": name,
                "wrapped": {"moduleName": "cloudflare-internal:d1-api", "innerBindings": [inner]},
            }
        case "service":
            return {"name": name, "service": _service(binding, targets, peers)}
        case other:  # refused when it was uploaded
            raise ValueError(f"a binding of type {other!r} cannot be wired")


def _object_class(
    binding: Mapping[str, Any], worker: Worker, peers: Mapping[str, Worker], *, named: bool
) -> Mapping[str, Value]:
    """Return the binding to a class; if `named`, one that writes down what its objects are called."""
    name, class_name = str(binding["name"]), binding_target(binding)
    script = str(binding.get("script_name") or worker.name)
    holder = worker if script == worker.name else peers.get(script)
    if holder is None or class_name not in holder.classes:
        return {"name": name, "service": {"name": "gone" if peers else "empty"}}
    if not named:
        return {"name": name, "durableObjectNamespace": _class_of(holder, class_name)}
    inner: list[Value] = [
        {"name": "namespace", "durableObjectNamespace": _class_of(holder, class_name)},
        {"name": "id", "text": holder.classes[class_name]},
        {"name": "names", "service": {"name": "do:names"}},
    ]
    return {"name": name, "wrapped": {"moduleName": _NAMES_MODULE, "innerBindings": inner}}


def _class_of(holder: Worker, class_name: str) -> Mapping[str, Value]:
    return {"serviceName": f"worker:{holder.name}", "className": class_name}


def binding_target(binding: Mapping[str, Any]) -> str:
    """Return what a binding refers to: a database's or namespace's id, a bucket's or Worker's name."""
    match binding["type"]:
        case "d1":
            return str(binding.get("id") or binding.get("database_id") or "")
        case "kv_namespace":
            return str(binding.get("namespace_id") or "")
        case "r2_bucket":
            return str(binding.get("bucket_name") or "")
        case "service":
            return str(binding.get("service") or "")
        case "durable_object_namespace":
            return str(binding.get("class_name") or "")
        case _:
            return ""


def _target(kind: str, name: str, targets: Resources | None) -> Mapping[str, Value]:
    if targets is None:
        return {"name": "empty"}
    known = {
        "d1": name if name in targets.databases else None,
        "kv": name if name in targets.namespaces else None,
        "r2": targets.buckets.get(name),
    }[kind]
    if known is None:
        return {"name": "gone"}
    return {"name": f"{kind}:entry", "props": {"json": json.dumps({"MINIFLARE_NAMESPACE": known})}}


def _service(binding: Mapping[str, Any], targets: Resources | None, peers: Mapping[str, Worker]) -> Mapping[str, Value]:
    if targets is None:
        return {"name": "empty"}
    target = binding_target(binding)
    if target not in peers:
        return {"name": "gone"}
    service: dict[str, Value] = {"name": f"worker:{target}"}
    if entrypoint := binding.get("entrypoint"):
        service["entrypoint"] = str(entrypoint)
    return service


def _internet(wiring: Wiring) -> None:
    # workerd's own default leaves out private addresses; a Worker under development talks to the developer's machine.
    network: Value = {
        "allow": ["public", "private"],
        "deny": [],
        "tlsOptions": {"trustBrowserCas": True},
    }
    wiring.services.append({"name": "internet", "network": network})


def _simulator(wiring: Wiring, kind: str, storage: str) -> None:
    class_name, path = _SIMULATORS[kind]
    wiring.services.append({"name": f"{kind}:storage", "disk": {"path": f"{storage}/{kind}", "writable": True}})
    wiring.services.append(
        {
            "name": kind,
            "worker": {
                "compatibilityDate": _SIMULATOR_DATE,
                "compatibilityFlags": list(_SIMULATOR_FLAGS),
                "modules": [{"name": f"{kind}.worker.js", "esModule": Embed(f"/{path}")}],
                "durableObjectNamespaces": [{"className": class_name, "uniqueKey": unique_key(kind)}],
                "durableObjectStorage": {"localDisk": f"{kind}:storage"},
                "bindings": [
                    {"name": "MINIFLARE_BLOBS", "service": {"name": f"{kind}:storage"}},
                    {"name": "MINIFLARE_LOOPBACK", "service": {"name": "empty"}},
                ],
            },
        }
    )
    wiring.services.append(
        {
            "name": f"{kind}:entry",
            "worker": {
                "compatibilityDate": _SIMULATOR_DATE,
                "modules": [{"name": "entry", "esModule": Embed("/shared/object-entry.worker.js")}],
                "bindings": [_object_binding("MINIFLARE_OBJECT", kind)],
            },
        }
    )


def unique_key(kind: str) -> str:
    """Return what workerd derives the names of a simulator's storage files from."""
    return f"miniflare-{_SIMULATORS[kind][0]}"


def _object_binding(name: str, kind: str) -> Value:
    return {
        "name": name,
        "durableObjectNamespace": {"serviceName": kind, "className": _SIMULATORS[kind][0]},
    }


def _admin_bindings(workers: Mapping[str, Worker]) -> list[Value]:
    bindings: list[Value] = [{"name": "TOKEN", "fromEnvironment": ADMIN_TOKEN}]
    bindings += [_object_binding(kind.upper(), kind) for kind in _SIMULATORS]
    for worker in workers.values():
        for class_name, namespace in worker.classes.items():
            bindings.append({"name": f"do/{namespace}", "durableObjectNamespace": _class_of(worker, class_name)})
    return bindings


def _cache(wiring: Wiring) -> None:
    # The Cache API stores nothing here, as on a workers.dev address.
    wiring.services.append(
        {
            "name": "cache",
            "worker": {
                "compatibilityDate": _SIMULATOR_DATE,
                "modules": [{"name": "cache", "esModule": Embed("/cache/cache-entry-noop.worker.js")}],
            },
        }
    )


__all__ = ["ADMIN", "ENTRY", "VOID", "Wiring", "binding_target", "data_plane", "scratch", "unique_key"]
