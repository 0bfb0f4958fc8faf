"""Measure single operations of state stores: reading and writing one record, loading many, and the requests of a run.

```
python benchmarks/operations.py
python benchmarks/operations.py --store file sqlite service postgres --records 10000 --resources 1000 --repeat 50
```

Within one process, on a stage of `--records` records as a deploy leaves them: `set` writes one and waits until it is
durable, `get` reads one, and `load` opens the store, takes the stage, loads it and gives it back. Then `--resources`
resources are deployed as `stores.py` does it, and the requests of a deploy that changes nothing are counted. Prints a
table in Markdown, then the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from measure import Failed, expect, work_folder
from stores import STORES, Missing, Place, Work, counted

from alchemy.owner import owner_of
from alchemy.ports import StateStore
from alchemy.state import STAGE_KIND, Record, Status
from alchemy.stores import open_store

UNIT = "operations/bench"
DEFAULT = ("file", "sqlite", "service")
_AT_ONCE = 1000


def record(number: int) -> Record:
    """Give a record as a deploy of `programs/null.py` leaves it."""
    return Record(
        kind="bench::Null",
        id=f"r{number}",
        fqn=f"{UNIT}/r{number}",
        status=Status.CREATED,
        seq=number + 1,
        provider="file:null.py#NullProvider",
        props={"value": f"1-{number}"},
        output={"echo": f"1-{number}"},
    )


async def operate(place: Place, records: int, repeat: int) -> dict[str, Any]:
    """Fill a stage, and measure what is asked of it."""
    os.environ.update(place.env)
    store = open_store(place.url)
    await store.init()
    try:
        lease = await store.acquire(UNIT, owner=owner_of("bench"), timeout=0)
        await store.set(lease, Record(kind=STAGE_KIND, id="bench", fqn=UNIT, status=Status.CREATED))
        for start in range(0, records, _AT_ONCE):
            await store.set(lease, *map(record, range(start, min(start + _AT_ONCE, records))))
        chosen = [number * records // repeat for number in range(repeat)]
        written = await _median([partial(store.set, lease, record(number)) for number in chosen])
        await store.fold(lease)
        await store.release(lease)
        read = await _median([partial(store.get, f"{UNIT}/r{number}") for number in chosen])
    finally:
        await store.deinit()
    with counted(place) as traffic:
        began = time.perf_counter()
        expect(await _load(open_store(place.url)), records + 1, "records")
        loaded = time.perf_counter() - began
    requests = {} if traffic is None else {"load_requests": traffic.round_trips}
    return {"get_ms": read, "set_ms": written, "load_seconds": round(loaded, 3), **requests}


async def _load(store: StateStore) -> int:
    await store.init()
    try:
        lease = await store.acquire(UNIT, owner=owner_of("bench"), timeout=0)
        found = len((await store.load(UNIT, lease=lease)).records)
        await store.release(lease)
        return found
    finally:
        await store.deinit()


async def _median(calls: Sequence[Callable[[], Awaitable[Any]]]) -> float:
    """Give the median of what each call takes, one after the other, in milliseconds."""
    taken: list[float] = []
    for call in calls:
        began = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(taken), 3)


def measure(name: str, records: int, resources: int, repeat: int) -> dict[str, Any] | None:
    """Give a store's row; `None` when its server is not on this machine."""
    with ExitStack() as stack:
        folder: Path = stack.enter_context(work_folder(f"{name}-operations"))
        try:
            place = STORES[name](stack, folder)
        except Missing as missing:
            print(f"{name} is left out: {missing}", file=sys.stderr)
            return None
        row = {"store": name, **asyncio.run(operate(place, records, repeat))}
        work = Work(place, folder, resources)
        work.create()
        noop = work.noop()
        if noop.traffic is None:
            return row
        return {**row, "noop_requests": noop.traffic.round_trips, "noop_seconds": noop.sample.seconds}


def table(rows: Sequence[dict[str, Any]], records: int, resources: int) -> str:
    """Give the rows as a table in Markdown."""
    lines = [
        f"| store | get, ms | set, ms | load of {records:,}, s | requests: load | no change of {resources:,} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        counts = [row.get(name, "–") for name in ("load_requests", "noop_requests")]
        shown = [f"{row['get_ms']:.2f}", f"{row['set_ms']:.2f}", f"{row['load_seconds']:.2f}", *counts]
        lines.append(f"| {row['store']} | {' | '.join(map(str, shown))} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Measure single operations of state stores.")
    parser.add_argument("--store", choices=sorted(STORES), nargs="+", default=list(DEFAULT))
    parser.add_argument("--records", type=int, default=10_000, help="in the stage that is loaded")
    parser.add_argument("--resources", type=int, default=1000, help="that a run finds unchanged")
    parser.add_argument("--repeat", type=int, default=50, help="how often to get and to set; the medians count")
    args = parser.parse_args()
    found = [measure(name, args.records, args.resources, args.repeat) for name in args.store]
    rows = [row for row in found if row is not None]
    print(table(rows, args.records, args.resources))
    print(json.dumps({"records": args.records, "resources": args.resources, "rows": rows}, indent=2))


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(str(failure))
