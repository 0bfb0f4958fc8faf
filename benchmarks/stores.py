"""Measure the same work on every state store, each against its server on this machine.

```
python benchmarks/stores.py --n 1000 10000
python benchmarks/stores.py --latency 0.05 --n 1000
```

The resources' provider does nothing, so what remains is the engine and the store. Prints a table in Markdown, then the
same as JSON. Stores take turns, step by step. Round trips and bytes are counted by a proxy between the store and its
server; a store without a server has none. A store whose server is not on this machine is left out, and that is said.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from measure import HERE, PROGRAMS, Failed, Sample, expect, median, run, work_folder

from alchemy.stores import open_store
from alchemy.testing.proxy import Proxy, Traffic

sys.path.insert(0, str(HERE.parent))  # the servers are those of the tests

STAGE = "bench"
STEPS = ("create", "noop", "destroy")
WORDS = {"create": "create", "noop": "no change", "destroy": "destroy"}


class Missing(Exception):
    """A server is not on this machine; the message says what to do."""


@dataclass
class Place:
    """An empty place in a store.

    Attributes:
        url: for `--state-store`.
        env: credentials, in the variables that the store reads.
        proxy: between the store and its server.
    """

    url: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    proxy: Proxy | None = None


Open = Callable[[ExitStack, Path], Place]


def _file(_: ExitStack, folder: Path) -> Place:
    return Place(f"file:{folder / 'state'}")


def _sqlite(_: ExitStack, folder: Path) -> Place:
    return Place(f"sqlite:{folder / 'state.db'}")


def _redis(stack: ExitStack, folder: Path) -> Place:
    from tests.integration.stores.servers.redis import RedisServer

    server = RedisServer(folder / "redis")
    proxy = _behind_proxy(stack, server)
    return Place(f"redis://127.0.0.1:{proxy.port}", proxy=proxy)


def _dynamodb(stack: ExitStack, folder: Path) -> Place:
    from tests.integration.stores.servers.ministack import MiniStack

    proxy = _behind_proxy(stack, MiniStack(folder / "dynamodb"))
    url = f"dynamodb://state?region=eu-west-1&endpoint=http://127.0.0.1:{proxy.port}&create=true"
    return Place(url, AWS, proxy)


def _s3(stack: ExitStack, folder: Path) -> Place:
    from tests.integration.stores.servers.s3 import BUCKET, S3Server

    proxy = _behind_proxy(stack, S3Server(folder / "s3"))
    return Place(f"s3://{BUCKET}/bench?region=us-east-1&endpoint=http://127.0.0.1:{proxy.port}", AWS, proxy)


def _service(stack: ExitStack, folder: Path) -> Place:
    from tests.integration.stores.servers.service import TOKEN, ServiceServer

    proxy = _behind_proxy(stack, ServiceServer(folder / "service"))
    return Place(f"cloudflare+http://127.0.0.1:{proxy.port}", {"ALCHEMY_STATE_TOKEN": TOKEN}, proxy)


def _azure(stack: ExitStack, folder: Path) -> Place:
    from tests.integration.stores.servers.azurite import ACCOUNT, CONTAINER, KEY, AzureServer

    proxy = _behind_proxy(stack, AzureServer(folder / "azure"))
    url = f"az://{CONTAINER}/bench?account={ACCOUNT}&endpoint=http://127.0.0.1:{proxy.port}/{ACCOUNT}"
    return Place(url, {"AZURE_STORAGE_ACCOUNT_KEY": KEY}, proxy)


def _gcs(stack: ExitStack, _: Path) -> Place:
    from tests.integration.stores.servers.gcs import BUCKET, GCSServer

    proxy = _behind_proxy(stack, GCSServer())
    return Place(f"gs://{BUCKET}/bench?endpoint=http://127.0.0.1:{proxy.port}", proxy=proxy)


AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def _postgres(stack: ExitStack, _: Path) -> Place:
    from tests.integration.stores.servers.postgres import PASSWORD, USER, PostgresServer

    server = PostgresServer()
    stack.callback(server.remove)
    try:
        server.make()
    except (RuntimeError, OSError) as error:
        raise Missing(str(error)) from error
    proxy = stack.enter_context(Proxy("127.0.0.1", server.port))
    env = {"PGUSER": USER, "PGPASSWORD": PASSWORD}
    return Place(f"postgresql://127.0.0.1:{proxy.port}/postgres", env=env, proxy=proxy)


class Server(Protocol):
    """What the tests have for each kind of server."""

    port: int

    def start(self) -> None: ...
    def kill(self) -> None: ...


def _behind_proxy(stack: ExitStack, server: Server) -> Proxy:
    try:
        server.start()
    except (RuntimeError, OSError) as error:
        raise Missing(str(error)) from error
    stack.callback(server.kill)
    return stack.enter_context(Proxy("127.0.0.1", server.port))


STORES: dict[str, Open] = {
    "file": _file,
    "sqlite": _sqlite,
    "postgres": _postgres,
    "redis": _redis,
    "s3": _s3,
    "gcs": _gcs,
    "azure": _azure,
    "dynamodb": _dynamodb,
    "service": _service,
}


@dataclass
class Measured:
    """What a step took.

    Attributes:
        traffic: between the store and its server; `None` without a server.
    """

    sample: Sample
    traffic: Traffic | None


class Work:
    """`n` resources in one store: one method for each step, each checked for what it left."""

    def __init__(self, place: Place, folder: Path, n: int) -> None:
        self.place = place
        self.folder = folder
        self.n = n
        (folder / "null.py").write_bytes((PROGRAMS / "null.py").read_bytes())

    def create(self) -> Measured:
        """Deploy for the first time."""
        return self._run("deploy", "null.py", left=self.n)

    def noop(self) -> Measured:
        """Deploy the same program again."""
        return self._run("deploy", "null.py", left=self.n)

    def destroy(self) -> Measured:
        """Destroy everything."""
        return self._run("destroy", "--yes", "--strategy", "parallel", left=0)

    def _run(self, *args: str, left: int) -> Measured:
        with counted(self.place) as traffic:
            sample = self._alchemy(*args, "--stage", STAGE, "--quiet")
        expect(len(asyncio.run(self._ids())), left, "records")
        return Measured(sample, traffic)

    def _alchemy(self, *args: str) -> Sample:
        command = [sys.executable, "-m", "alchemy", *args, "--state-store", self.place.url]
        return run(command, cwd=self.folder, env={"N": str(self.n), "V": "1", **self.place.env})

    async def _ids(self) -> Sequence[str]:
        os.environ.update(self.place.env)
        store = open_store(self.place.url)
        await store.init()
        try:
            return await store.list(f"bench/{STAGE}")
        finally:
            await store.deinit()


@contextmanager
def counted(place: Place) -> Iterator[Traffic | None]:
    """Count what goes between a store and its server within the block; `None` without a server."""
    if place.proxy is None:
        yield None
    else:
        with place.proxy.counted() as traffic:
            yield traffic


def measure(names: Sequence[str], numbers: Sequence[int], repeat: int, latency: float) -> list[dict[str, Any]]:
    """Take turns, and give a row for every store, number and step."""
    taken: dict[tuple[str, int, str], list[Measured]] = {}
    with ExitStack() as stack:
        works: list[tuple[str, Work]] = []
        for name in names:
            for n in [n for n in numbers for _ in range(repeat)]:
                folder = stack.enter_context(work_folder(f"{name}-{n}"))
                try:
                    place = STORES[name](stack, folder)
                except Missing as missing:
                    print(f"{name} is left out: {missing}", file=sys.stderr)
                    continue
                if place.proxy is not None:
                    place.proxy.delay = latency
                works.append((name, Work(place, folder, n)))
        for step in STEPS:
            for name, work in works:
                taken.setdefault((name, work.n, step), []).append(getattr(work, step)())
    return [_row(name, n, step, found) for (name, n, step), found in taken.items()]


def _row(name: str, n: int, step: str, found: Sequence[Measured]) -> dict[str, Any]:
    last = found[-1].traffic
    traffic = (
        {} if last is None else {"round_trips": last.round_trips, "kilobytes": (last.sent + last.received) // 1000}
    )
    return {"store": name, "n": n, "step": step, **median([one.sample for one in found]).to_json(), **traffic}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Give the rows as a table in Markdown, with how many times as long each took as with files."""
    files = {(row["n"], row["step"]): row["seconds"] for row in rows if row["store"] == "file"}
    lines = [
        "| store | resources | step | seconds | to files | round trips | kB |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(rows, key=lambda row: (row["n"], STEPS.index(row["step"]))):
        base = files.get((row["n"], row["step"]))
        ratio = f"{row['seconds'] / base:.2f}" if base else ""
        lines.append(
            f"| {row['store']} | {row['n']:,} | {WORDS[row['step']]} | {row['seconds']:.2f} | {ratio} "
            f"| {row.get('round_trips', '')} | {row.get('kilobytes', '')} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the same work on every state store.")
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 10000], help="how many resources")
    parser.add_argument("--store", choices=sorted(STORES), nargs="+", default=list(STORES))
    parser.add_argument("--repeat", type=int, default=1, help="how often; the median counts")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that a round trip takes longer")
    args = parser.parse_args()
    rows = measure(args.store, sorted(args.n), args.repeat, args.latency)
    print(table(rows))
    print(json.dumps({"latency": args.latency, "repeat": args.repeat, "rows": rows}, indent=2))


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
