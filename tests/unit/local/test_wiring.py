"""The configuration that is made of Workers."""

from __future__ import annotations

from dataclasses import replace

from alchemy.local.runtime import wiring
from alchemy.local.runtime.worker import Module, Resources, Worker

MODULE = Module("index.js", "application/javascript+module", b"export default {}")


def worker(name: str, *bindings: dict[str, str], enabled: bool | None = None) -> Worker:
    """Return a Worker with these bindings."""
    return Worker(name, "", "", (MODULE,), bindings, "2026-07-01", enabled=enabled)


def plan(*workers: Worker, targets: Resources | None = None) -> wiring.Wiring:
    """Wire Workers."""
    return wiring.data_plane(
        {each.name: each for each in workers}, targets or Resources(), storage="/data", admin_token="token"
    )


def test_a_secret_is_not_in_the_configuration() -> None:
    """It is in a variable that the configuration names; so is the admin token."""
    wired = plan(worker("w", {"type": "secret_text", "name": "S", "text": "hidden"}))
    assert "hidden" not in wired.text()
    assert "token" not in wired.text()
    assert set(wired.environment.values()) == {"hidden", "token"}
    for name in wired.environment:
        assert f'fromEnvironment = "{name}"' in wired.text()


def test_an_unknown_target_leads_to_an_error() -> None:
    """What was deleted is wired to the worker that always fails; what exists to its simulator."""
    binding = {"type": "kv_namespace", "name": "KV", "namespace_id": "n1"}
    assert 'kvNamespace = (name = "gone")' in plan(worker("w", binding)).text()
    known = plan(worker("w", binding), targets=Resources(namespaces=frozenset({"n1"}))).text()
    assert 'kvNamespace = (name = "kv:entry"' in known


def test_a_worker_that_is_off_is_off_everywhere() -> None:
    """Its port leads to the 404 and its name to nothing, while another Worker may still be bound to it."""
    text = plan(worker("off", enabled=False), worker("on", {"type": "service", "name": "O", "service": "off"})).text()
    assert '(name = "worker:off", address = "127.0.0.1:0", service = "disabled"' in text
    assert '(name = "off", service' not in text
    assert '(name = "on", service = (name = "worker:on"))' in text
    assert '(name = "O", service = (name = "worker:off"))' in text


def test_an_entrypoint_is_named() -> None:
    """A service binding may mean a named entrypoint of the other Worker."""
    binding = {"type": "service", "name": "O", "service": "b", "entrypoint": "Rpc"}
    assert 'service = (name = "worker:b", entrypoint = "Rpc")' in plan(worker("a", binding), worker("b")).text()


def test_the_same_workers_give_the_same_configuration() -> None:
    """So that nothing is reloaded when nothing has changed; equal files are written once."""
    first, second = plan(worker("a"), worker("b")), plan(worker("a"), worker("b"))
    assert (first.text(), first.environment, first.files) == (second.text(), second.environment, second.files)
    assert sum(content == MODULE.content for content in first.files.values()) == 1


def test_a_source_map_is_left_out() -> None:
    """A kind of module that only tools read reaches no configuration."""
    mapped = Worker("w", "", "", (MODULE, Module("index.js.map", "application/source-map", b"{}")), (), "2026-07-01")
    assert "index.js.map" not in plan(mapped).text()


def test_a_class_is_wired_with_what_notes_names() -> None:
    """A served Worker's binding writes its objects' names down; that of one which is only tried out does not."""
    binding = {"type": "durable_object_namespace", "name": "ROOM", "class_name": "Room"}
    holder = replace(worker("w", binding), classes={"Room": "ns1"})
    text = plan(holder).text()
    assert 'name = "ROOM", wrapped = (moduleName = "alchemy:names"' in text
    assert '(name = "id", text = "ns1")' in text
    assert '(name = "do/ns1", durableObjectNamespace = (serviceName = "worker:w", className = "Room"))' in text
    assert 'name = "ROOM", durableObjectNamespace = (' in wiring.scratch(holder).text()
    assert '(name = "ROOM", service = (name = "gone"))' in plan(worker("w", binding)).text()
