"""`alchemy local objects`, `evict` and `delete-object`: Durable Objects on this machine, and letting them go."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from alchemy.cli.options import launch_options

if TYPE_CHECKING:
    from pathlib import Path

    from alchemy.local import LocalCloudflareError, ObjectClass, StoredObject

_AT_ONCE = 16
_ID = click.option("--id", "object_id", metavar="ID", help="The object with this id, for one that has no name.")


@click.command("objects")
@click.argument("class_name", metavar="[CLASS]", required=False)
@launch_options("state_dir")
@click.option("--json", "as_json", is_flag=True, help="Write it as one JSON object.")
def objects(class_name: str | None, as_json: bool, **options: Any) -> None:
    """List the Durable Objects: what they store, and which are in memory.

    All of them, or those of CLASS, which may be said with its Worker: SCRIPT/CLASS. An object is listed from when it
    was first constructed, with a dash where it has no name, or no Worker has asked for it by one.
    """
    from alchemy.cli import terminal
    from alchemy.cli.local_cloudflare import data_folder

    classes = _classes(data_folder(options), class_name)
    if as_json:
        click.echo(json.dumps({"classes": [_as_object(each) for each in classes]}))
        return
    for line in lines(classes):
        click.echo(terminal.clean(line))
    if not classes:
        terminal.note("no Worker has a class of Durable Objects")


@click.command("evict")
@click.argument("class_name", metavar="[CLASS]", required=False)
@click.argument("name", metavar="[NAME]", required=False)
@launch_options("state_dir")
@_ID
@click.option("--all", "every", is_flag=True, help="All objects of the class, or of all classes.")
@click.option("--now", is_flag=True, help="With --all: wait for nothing, by starting workerd anew.")
@click.option(
    "--timeout",
    "seconds",
    type=click.IntRange(1, 30),
    default=30,
    metavar="SECONDS",
    help="How long an object may take to finish what it is doing.  [default 30, which is also the most]",
)
def evict(
    class_name: str | None,
    name: str | None,
    object_id: str | None,
    every: bool,
    now: bool,
    seconds: int,
    **options: Any,
) -> int:
    """Let a Durable Object go from memory; what it has stored stays.

    The object is NAME of CLASS, or SCRIPT/CLASS. Requests that it is answering are finished first, and the next one
    constructs it anew. With --now workerd is started anew: requests have 5 seconds, and WebSockets are closed.
    """
    from alchemy.cli.local_cloudflare import data_folder

    _check_which(class_name, name, object_id, every=every, now=now)
    data = data_folder(options)
    if now:
        from alchemy.local import evict_all_objects

        asyncio.run(evict_all_objects(data))
        click.echo("evicted all objects")
        return 0
    classes = _classes(data, class_name)
    if not every:
        one = classes[0], choose_object(classes[0], name, object_id)
        return asyncio.run(_evict(data, [one], seconds, name=name))
    wanted = [(of, each) for of in classes for each in of.objects if each.in_memory]
    if not wanted:
        click.echo("nothing is in memory")
    return asyncio.run(_evict(data, wanted, seconds))


@click.command("delete-object")
@click.argument("class_name", metavar="CLASS")
@click.argument("name", metavar="[NAME]", required=False)
@launch_options("state_dir")
@_ID
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def delete_object(class_name: str, name: str | None, object_id: str | None, yes: bool, **options: Any) -> int:
    """Delete what one Durable Object has stored, its alarm included. The next request finds it empty.

    The object is NAME of CLASS, or SCRIPT/CLASS. It goes from memory first, and so do all others, because workerd is
    started anew: requests in flight have 5 seconds.
    """
    from alchemy.cli.asking import is_wanted
    from alchemy.cli.local_cloudflare import data_folder

    _check_which(class_name, name, object_id)
    data = data_folder(options)
    (of,) = _classes(data, class_name)
    found = choose_object(of, name, object_id)
    label = _label(of, found, name)
    if not yes and not is_wanted(
        "This deletes for good what has been stored for:",
        [f"{label}, {found.size} bytes"],
        "Delete?",
        refusal=f"there is no terminal to ask on whether to delete {label}, {found.size} bytes: add --yes",
        kept="nothing was deleted",
    ):
        return 1
    from alchemy.local import delete_object as delete_it

    size = asyncio.run(delete_it(data, of.namespace, found.id))
    click.echo(f"deleted {size} bytes of {label}")
    return 0


def _check_which(
    class_name: str | None, name: str | None, object_id: str | None, *, every: bool = False, now: bool = False
) -> None:
    """Raise `UsageError` when what is said does not make one object, or all."""
    one = name is not None or object_id is not None
    if name is not None and object_id is not None:
        raise click.UsageError("say an object's NAME or its --id, not both")
    if every and one:
        raise click.UsageError("--all is not for one object")
    if now and (not every or class_name is not None):
        raise click.UsageError("--now is for all objects of all classes: alchemy local evict --all --now")
    if not every and (class_name is None or not one):
        raise click.UsageError("say which object: CLASS NAME, or CLASS --id ID")


def _classes(data: Path, said: str | None) -> list[ObjectClass]:
    """Give all classes, or the one that is meant."""
    from alchemy.local import object_classes

    classes = asyncio.run(object_classes(data))
    return classes if said is None else [choose_class(classes, said)]


def choose_class(classes: Sequence[ObjectClass], said: str) -> ObjectClass:
    """Give the class that is meant by `CLASS` or `SCRIPT/CLASS`.

    Raises:
        ConfigurationError: there is none of that name, or several Workers have one.
    """
    from alchemy.cli.finding import near
    from alchemy.errors import ConfigurationError

    found = [each for each in classes if said in (each.name, _class_label(each))]
    if len(found) == 1:
        return found[0]
    if found:
        hint = f"say which: {', '.join(map(_class_label, found))}"
        raise ConfigurationError(f"{len(found)} Workers have a class {said}", hint=hint)
    known = {_class_label(each) if "/" in said else each.name for each in classes}
    hint = near(said, sorted(known)) or "`alchemy local objects` shows what there is"
    raise ConfigurationError(f"no Worker has a class {said}", hint=hint)


def choose_object(of: ObjectClass, name: str | None, object_id: str | None) -> StoredObject:
    """Give one object of a class, by its name, known or not, or by its id.

    Raises:
        ConfigurationError: it was never constructed.
    """
    from alchemy.cli.finding import near
    from alchemy.errors import ConfigurationError

    if found := of.find(name=name, object_id=object_id):
        return found
    if name is not None:
        what, hint = f"called {_words(name)}", near(name, (each.name for each in of.objects if each.name is not None))
    else:
        what, hint = f"with the id {object_id}", near(object_id or "", (each.id for each in of.objects))
    raise ConfigurationError(
        f"{_class_label(of)} has no object {what}",
        hint=hint or f"`alchemy local objects {_class_label(of)}` shows what there is",
    )


async def _evict(
    data: Path, wanted: Sequence[tuple[ObjectClass, StoredObject]], seconds: int, *, name: str | None = None
) -> int:
    """Evict some objects side by side, say how it went with each, and give the exit code."""
    from alchemy.cli import terminal
    from alchemy.local import LocalCloudflareError, evict_object

    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(of: ObjectClass, each: StoredObject) -> LocalCloudflareError | None:
        label = _label(of, each, name)
        async with limit:
            try:
                went = await evict_object(data, of.namespace, each.id, seconds=seconds)
            except LocalCloudflareError as error:
                terminal.problem(f"{label} was not evicted: {error.message}", error.hint)
                return error
        click.echo(terminal.clean(f"evicted {label}" if went else f"{label} was not in memory"))
        return None

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(of, each)) for of, each in wanted]
    return 1 if any(task.result() for task in tasks) else 0


def lines(classes: Sequence[ObjectClass]) -> list[str]:
    """Give what `objects` prints: a line for each class, and one for each of its objects below it."""
    from alchemy.cli.columns import age, aligned

    rows = [
        (
            f"  {_words(each.name)}",
            "in memory" if each.in_memory else "not in memory",
            f"{each.size} bytes",
            f"written {age(each.written)} ago",
            each.id,
        )
        for of in classes
        for each in of.objects
    ]
    rest = iter(aligned(rows) if rows else [])
    found = list[str]()
    for of in classes:
        found.append(f"{_class_label(of)}  {of.namespace}" + ("" if of.objects else "  no objects"))
        found += [next(rest) for _ in of.objects]
    return found


def _class_label(of: ObjectClass) -> str:
    return f"{of.script}/{of.name}"


def _label(of: ObjectClass, each: StoredObject, name: str | None) -> str:
    known = name if name is not None else each.name
    return f"{_words(known) if known is not None else each.id} of {_class_label(of)}"


def _words(name: str | None) -> str:
    """Write a name so that it stays on its line."""
    if name is None:
        return "-"
    return name if name and name.isprintable() else repr(name)


def _as_object(of: ObjectClass) -> dict[str, Any]:
    return {
        "script": of.script,
        "class": of.name,
        "namespace": of.namespace,
        "objects": [dataclasses.asdict(each) for each in of.objects],
    }
